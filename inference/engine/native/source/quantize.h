// Activations as the matrix kernel reads them: 8-bit integers with a scale for each row and group.
#pragma once

#include <vector>

#include "panels.h"

namespace lg {

// Quantized rows: `values` [rows, k]; `scales` and `totals` [rows, groups]. A scale holds the factor
// of the weights' matrix. A total is the sum of a group's integers, by which the weights' minimum
// counts; for weights of 8 bits, which are shifted by 128, the int32 at which integer sums begin.
// `parts` [rows + 1] says where a row begins: a fine row takes two, its rounded values and what the
// rounding left over.
struct Rows {
    int8_t* values;
    float* scales;
    float* totals;
    const int32_t* parts;
    int k, num_groups;
};

// Integer sums begin at the bits of 1.5 * 2^23: they need no conversion, for read as a float32 they
// are 1.5 * 2^23 + sum, as long as the sum is below 2^22.
constexpr int32_t ROUNDER_BITS = 0x4b400000;

// What the largest number of a group becomes.
constexpr float TOP = 127.0f;

// The left-over lies within half a step, so it is shown on a scale finer by 2 * 127.
constexpr float FINER = 254.0f;

// Whole vectors may be read at a buffer's end.
template <class T>
static void grow(std::vector<T>& buffer, size_t size) {
    if (buffer.size() < size + LANES) buffer.resize(size + LANES);
}

// Rows for one linear layer, and the memory they live in.
class Quantizer {
   public:
    void reserve(size_t num_rows, size_t width) {
        // A fine row takes two.
        grow(values_, 2 * num_rows * width);
        grow(scales_, 2 * num_rows * (width / Int4::GROUP));
        grow(totals_, 2 * num_rows * (width / Int4::GROUP));
    }

    void begin(const Linear& linear, const int32_t* parts) {
        rows_ = {values_.data(), scales_.data(), totals_.data(), parts, linear.k, linear.num_groups()};
        bits_ = linear.bits;
        factor_ = linear.factor;
    }

    const Rows& rows() const { return rows_; }

    // Quantizes `count` groups of a row, from `first` on; `x` is the first one's first number.
    void put(int row, int first, int count, const float* x) {
        if (bits_ == 4)
            put_groups<Int4>(row, first, count, x);
        else
            put_groups<Int8>(row, first, count, x);
    }

    // A whole row of `width` numbers, which need not fill the last group.
    void put_row(int row, int width, const float* x) {
        int group = bits_ == 4 ? Int4::GROUP : Int8::GROUP, whole = width / group;
        put(row, 0, whole, x);
        if (whole == rows_.num_groups) return;
        alignas(64) float padded[Int8::GROUP] = {};
        for (int i = whole * group; i < width; i++) padded[i - whole * group] = x[i];
        put(row, whole, 1, padded);
    }

   private:
    template <class Format>
    void put_groups(int row, int first, int count, const float* x) {
        size_t part = rows_.parts[row], index = part * rows_.num_groups + first;
        int8_t* values = rows_.values + part * rows_.k + (size_t)first * Format::GROUP;
        bool is_fine = rows_.parts[row + 1] - rows_.parts[row] == 2;
        for (int g = 0; g < count; g++, index++, x += Format::GROUP, values += Format::GROUP) {
            if (is_fine)
                put_group<Format, true>(x, values, index);
            else
                put_group<Format, false>(x, values, index);
        }
    }

    template <class Format, bool FINE>
    void put_group(const float* x, int8_t* values, size_t index) {
        f32 largest = magnitude(load<f32>(x));
        for (int i = LANES; i < Format::GROUP; i += LANES)
            largest = larger(largest, magnitude(load<f32>(x + i)));
        float top = maximum(largest);
        float inverse = top > 0 ? TOP / top : 0.0f;
        float scale = top * (1.0f / TOP);
        i32 sums = splat(0), fine_sums = splat(0);
        for (int i = 0; i < Format::GROUP; i += LANES) {
            f32 scaled = load<f32>(x + i) * inverse;
            i32 q = nearest(scaled);
            sums += q;
            store_bytes(values + i, q);
            if constexpr (FINE) {
                i32 rest = nearest((scaled - to_float(q)) * FINER);
                fine_sums += rest;
                store_bytes(values + rows_.k + i, rest);
            }
        }
        put_scale<Format>(index, scale, sum(sums));
        if constexpr (FINE)
            put_scale<Format>(index + rows_.num_groups, scale * (1.0f / FINER), sum(fine_sums));
    }

    template <class Format>
    void put_scale(size_t index, float scale, int32_t total) {
        rows_.scales[index] = scale * factor_;
        if constexpr (Format::BITS == 4) {
            rows_.totals[index] = (float)total;
        } else {
            int32_t start = ROUNDER_BITS - 128 * total;
            std::memcpy(&rows_.totals[index], &start, sizeof start);
        }
    }

    std::vector<int8_t> values_;
    std::vector<float> scales_, totals_;
    Rows rows_ = {};
    int bits_ = 4;
    float factor_ = 1;
};

}  // namespace lg
