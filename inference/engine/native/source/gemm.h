// out[row, n] = sum over k of activation[row, k] * weight[n, k], activations as 8-bit integers with
// one scale per row and group.
//
// The integer sums of a group are exact and groups are added in order, so a row's result is the same
// bit for bit however many rows are computed with it.
#pragma once

#include "panels.h"
#include "threads.h"

namespace lg {

constexpr int MAX_TILE = 8;      // rows whose sums stay in registers
constexpr int ROW_BLOCK = 128;   // at most so many rows share one unpacking of a 4-bit panel
constexpr int UNPACK_GROUPS = 48;
constexpr int UNPACKED_TILE = 6;

// Quantized rows: `values` [rows, k], `scales` and `sums` [rows, groups]; a sum is that of the
// group's integers, for the offset of the weights. `parts` [rows + 1] says where a row begins: a fine
// row takes two, its rounded values and what the rounding left over.
struct Rows {
    const int8_t* values;
    const float* scales;
    const int32_t* sums;
    const int32_t* parts;
    int k, num_groups;
};

// The left-over lies within half a step, so it is shown on a scale finer by 2 * 127.
constexpr float FINER = 254.0f;

// `fine_values` and its fellows may be null.
static inline void quantize_group(const float* x, int group, int8_t* values, float* scale,
                                  int32_t* total, int8_t* fine_values, float* fine_scale,
                                  int32_t* fine_total) {
    f32 largest = splat(0.0f);
    for (int i = 0; i < group; i += LANES) largest = larger(largest, magnitude(load<f32>(x + i)));
    float top = maximum(largest);
    float inverse = top > 0 ? 127.0f / top : 0.0f;
    i32 sums = splat(0), fine_sums = splat(0);
    for (int i = 0; i < group; i += LANES) {
        f32 scaled = load<f32>(x + i) * inverse;
        f32 whole = round_to_whole(scaled);
        i32 q = __builtin_convertvector(whole, i32);
        sums += q;
        store(values + i, __builtin_convertvector(q, s8x16));
        if (fine_values) {
            i32 rest = __builtin_convertvector(round_to_whole((scaled - whole) * FINER), i32);
            fine_sums += rest;
            store(fine_values + i, __builtin_convertvector(rest, s8x16));
        }
    }
    *scale = top * (1.0f / 127.0f);
    *total = sum(sums);
    if (fine_values) {
        *fine_scale = *scale * (1.0f / FINER);
        *fine_total = sum(fine_sums);
    }
}

// A 4-bit panel's groups with a byte per weight and float32 scales, for tiles that share them.
struct Unpacked {
    static constexpr int GROUP = Int4::GROUP, STEPS = Int4::STEPS;
    static constexpr size_t DATA = PANEL * GROUP;
    static constexpr size_t BYTES = DATA + PANEL * 8;
};

static inline void unpack_groups(const uint8_t* packed, uint8_t* out, int num_groups) {
    for (int g = 0; g < num_groups; g++, packed += Int4::BYTES, out += Unpacked::BYTES) {
        for (int v = 0; v < VECTORS; v++) {
            for (int s = 0; s < Int4::STEPS / 2; s++) {
                u8 both = load<u8>(packed + (v * (Int4::STEPS / 2) + s) * 64);
                store(out + (v * Unpacked::STEPS + s) * 64, both & 15);
                i16 shifted = (i16)((i16)both >> 4);
                store(out + (v * Unpacked::STEPS + s + Int4::STEPS / 2) * 64, (u8)shifted & 15);
            }
        }
        const uint16_t* tail = (const uint16_t*)(packed + Int4::DATA);
        float* wide = (float*)(out + Unpacked::DATA);
        for (int i = 0; i < 2 * PANEL; i += LANES) store(wide + i, load_half(tail + i));
    }
}

// Vectors of channels that are summed side by side, so that no sum waits for itself.
constexpr int PAIR = 2;

// PAIR vectors of channels of one group for ROWS rows: the exact integer sums.
template <class Format, int ROWS>
static inline void multiply_group(const uint8_t* data, const int8_t* const* a,
                                  i32 (*acc)[PAIR]) {
    constexpr size_t STRIDE = Format::DATA / VECTORS;
    if constexpr (Format::BYTES == Int4::BYTES) {
        for (int s = 0; s < Format::STEPS / 2; s++) {
            u8 low[PAIR], high[PAIR];
            for (int p = 0; p < PAIR; p++) {
                u8 both = load<u8>(data + p * STRIDE + s * 64);
                low[p] = both & 15;
                high[p] = (u8)((i16)both >> 4) & 15;
            }
            for (int r = 0; r < ROWS; r++) {
                int32_t first = load<int32_t>(a[r] + s * STEP);
                int32_t second = load<int32_t>(a[r] + (s + Format::STEPS / 2) * STEP);
                for (int p = 0; p < PAIR; p++) acc[r][p] = dot4(acc[r][p], low[p], first);
                for (int p = 0; p < PAIR; p++) acc[r][p] = dot4(acc[r][p], high[p], second);
            }
        }
    } else {
        for (int s = 0; s < Format::STEPS; s++) {
            u8 w[PAIR];
            for (int p = 0; p < PAIR; p++) w[p] = load<u8>(data + p * STRIDE + s * 64);
            for (int r = 0; r < ROWS; r++) {
                int32_t x = load<int32_t>(a[r] + s * STEP);
                for (int p = 0; p < PAIR; p++) acc[r][p] = dot4(acc[r][p], w[p], x);
            }
        }
    }
}

// Scales and minima of one vector of channels.
template <class Format>
static inline void load_scales(const uint8_t* tail, int vector, f32* step, f32* low) {
    if constexpr (Format::BYTES == Unpacked::BYTES) {
        *step = load<f32>((const float*)tail + vector * LANES);
        *low = load<f32>((const float*)tail + PANEL + vector * LANES);
    } else {
        *step = load_half((const uint16_t*)tail + vector * LANES);
        if constexpr (Format::GROUP == Int4::GROUP)
            *low = load_half((const uint16_t*)tail + PANEL + vector * LANES);
    }
}

// Adds `num_groups` groups, from `first` on, of one panel into `acc` [ROWS][PANEL].
template <class Format, int ROWS>
static void multiply_tile(const uint8_t* panel, int first, int num_groups, const Rows& rows,
                          int row, float factor, float* acc) {
    for (int g = 0; g < num_groups; g++, panel += Format::BYTES) {
        const int8_t* a[ROWS];
        float scale[ROWS];
        int32_t total[ROWS];
        for (int r = 0; r < ROWS; r++) {
            size_t index = (size_t)(row + r) * rows.num_groups + first + g;
            a[r] = rows.values + (size_t)(row + r) * rows.k + (size_t)(first + g) * Format::GROUP;
            scale[r] = rows.scales[index] * factor;
            total[r] = rows.sums[index];
        }
        for (int v = 0; v < VECTORS; v += PAIR) {
            i32 sums[ROWS][PAIR];
            for (int r = 0; r < ROWS; r++)
                for (int p = 0; p < PAIR; p++)
                    sums[r][p] = splat(Format::GROUP == Int8::GROUP ? -128 * total[r] : 0);
            multiply_group<Format, ROWS>(panel + v * (Format::DATA / VECTORS), a, sums);
            f32 step[PAIR], low[PAIR];
            for (int p = 0; p < PAIR; p++)
                load_scales<Format>(panel + Format::DATA, v + p, &step[p], &low[p]);
            for (int r = 0; r < ROWS; r++) {
                for (int p = 0; p < PAIR; p++) {
                    float* out = acc + r * PANEL + (v + p) * LANES;
                    f32 sum = fma(to_float(sums[r][p]), step[p] * scale[r], load<f32>(out));
                    if constexpr (Format::GROUP == Int4::GROUP)
                        sum = fma(low[p], splat(scale[r] * (float)total[r]), sum);
                    store(out, sum);
                }
            }
        }
    }
}

// The same for unpacked groups, which the caches hold: two vectors of channels go through all groups
// before the next two, so that their totals stay in registers.
template <int ROWS>
static void multiply_tile_unpacked(const uint8_t* panel, int first, int num_groups,
                                   const Rows& rows, int row, float factor, float* acc) {
    float scales[ROWS][UNPACK_GROUPS], offsets[ROWS][UNPACK_GROUPS];
    const int8_t* values[ROWS];
    for (int r = 0; r < ROWS; r++) {
        size_t index = (size_t)(row + r) * rows.num_groups + first;
        values[r] = rows.values + (size_t)(row + r) * rows.k + (size_t)first * Unpacked::GROUP;
        for (int g = 0; g < num_groups; g++) {
            scales[r][g] = rows.scales[index + g] * factor;
            offsets[r][g] = scales[r][g] * (float)rows.sums[index + g];
        }
    }
    for (int v = 0; v < VECTORS; v += PAIR) {
        f32 total[ROWS][PAIR];
        for (int r = 0; r < ROWS; r++)
            for (int p = 0; p < PAIR; p++)
                total[r][p] = load<f32>(acc + r * PANEL + (v + p) * LANES);
        const uint8_t* group = panel;
        for (int g = 0; g < num_groups; g++, group += Unpacked::BYTES) {
            const int8_t* a[ROWS];
            i32 sums[ROWS][PAIR];
            for (int r = 0; r < ROWS; r++) {
                a[r] = values[r] + (size_t)g * Unpacked::GROUP;
                for (int p = 0; p < PAIR; p++) sums[r][p] = splat(0);
            }
            multiply_group<Unpacked, ROWS>(group + v * (Unpacked::DATA / VECTORS), a, sums);
            f32 step[PAIR], low[PAIR];
            for (int p = 0; p < PAIR; p++)
                load_scales<Unpacked>(group + Unpacked::DATA, v + p, &step[p], &low[p]);
            for (int r = 0; r < ROWS; r++)
                for (int p = 0; p < PAIR; p++) {
                    f32 sum = fma(to_float(sums[r][p]), step[p] * scales[r][g], total[r][p]);
                    total[r][p] = fma(low[p], splat(offsets[r][g]), sum);
                }
        }
        for (int r = 0; r < ROWS; r++)
            for (int p = 0; p < PAIR; p++)
                store(acc + r * PANEL + (v + p) * LANES, total[r][p]);
    }
}

static void multiply_rows_unpacked(const uint8_t* panel, int first, int num_groups,
                                   const Rows& rows, int row, int num_rows, float factor,
                                   float* acc) {
    int num_tiles = (num_rows + UNPACKED_TILE - 1) / UNPACKED_TILE;
    for (int t = 0, done = 0; t < num_tiles; t++) {
        int size = (num_rows - done + num_tiles - t - 1) / (num_tiles - t);
        float* out = acc + (size_t)done * PANEL;
        int at = row + done;
        switch (size) {
            case 1: multiply_tile_unpacked<1>(panel, first, num_groups, rows, at, factor, out); break;
            case 2: multiply_tile_unpacked<2>(panel, first, num_groups, rows, at, factor, out); break;
            case 3: multiply_tile_unpacked<3>(panel, first, num_groups, rows, at, factor, out); break;
            case 4: multiply_tile_unpacked<4>(panel, first, num_groups, rows, at, factor, out); break;
            case 5: multiply_tile_unpacked<5>(panel, first, num_groups, rows, at, factor, out); break;
            default: multiply_tile_unpacked<6>(panel, first, num_groups, rows, at, factor, out);
        }
        done += size;
    }
}

template <class Format>
static void multiply_rows(const uint8_t* panel, int first, int num_groups, const Rows& rows, int row,
                          int num_rows, float factor, float* acc) {
    int num_tiles = (num_rows + MAX_TILE - 1) / MAX_TILE;
    for (int t = 0, done = 0; t < num_tiles; t++) {
        int size = (num_rows - done + num_tiles - t - 1) / (num_tiles - t);
        float* out = acc + (size_t)done * PANEL;
        int at = row + done;
        switch (size) {
            case 1: multiply_tile<Format, 1>(panel, first, num_groups, rows, at, factor, out); break;
            case 2: multiply_tile<Format, 2>(panel, first, num_groups, rows, at, factor, out); break;
            case 3: multiply_tile<Format, 3>(panel, first, num_groups, rows, at, factor, out); break;
            case 4: multiply_tile<Format, 4>(panel, first, num_groups, rows, at, factor, out); break;
            case 5: multiply_tile<Format, 5>(panel, first, num_groups, rows, at, factor, out); break;
            case 6: multiply_tile<Format, 6>(panel, first, num_groups, rows, at, factor, out); break;
            case 7: multiply_tile<Format, 7>(panel, first, num_groups, rows, at, factor, out); break;
            default: multiply_tile<Format, 8>(panel, first, num_groups, rows, at, factor, out);
        }
        done += size;
    }
}

// Calls finish(row, panel, acc) for each row's 64 sums of each panel, from any thread.
template <class Finish>
static void multiply(Pool& pool, const Linear& linear, const Rows& rows, int num_rows,
                     const Finish& finish) {
    int num_panels = linear.num_panels(), num_groups = linear.num_groups();
    int num_blocks = (num_rows + ROW_BLOCK - 1) / ROW_BLOCK;
    pool.run(num_panels * num_blocks, [&](int unit, int) {
        int panel_index = unit % num_panels, block = unit / num_panels;
        int first = num_rows * block / num_blocks, last = num_rows * (block + 1) / num_blocks;
        int row = rows.parts[first];
        int count = rows.parts[last] - row;
        const uint8_t* panel = linear.data + panel_index * linear.panel_bytes();
        alignas(64) float acc[2 * ROW_BLOCK * PANEL];
        f32 start[VECTORS];
        for (int v = 0; v < VECTORS; v++)
            start[v] = linear.bias
                           ? load<f32>(linear.bias + (size_t)panel_index * PANEL + v * LANES)
                           : splat(0.0f);
        for (int r = first; r < last; r++) {
            float* out = acc + (size_t)(rows.parts[r] - row) * PANEL;
            for (int v = 0; v < VECTORS; v++) store(out + v * LANES, start[v]);
            if (rows.parts[r + 1] - rows.parts[r] == 2)
                for (int v = 0; v < VECTORS; v++) store(out + PANEL + v * LANES, splat(0.0f));
        }
        if (linear.bits == 8) {
            multiply_rows<Int8>(panel, 0, num_groups, rows, row, count, linear.factor, acc);
        } else if (count <= 2 * MAX_TILE) {
            multiply_rows<Int4>(panel, 0, num_groups, rows, row, count, linear.factor, acc);
        } else {
            alignas(64) static thread_local uint8_t scratch[UNPACK_GROUPS * Unpacked::BYTES];
            for (int g = 0; g < num_groups; g += UNPACK_GROUPS) {
                int some = num_groups - g < UNPACK_GROUPS ? num_groups - g : UNPACK_GROUPS;
                unpack_groups(panel + g * Int4::BYTES, scratch, some);
                multiply_rows_unpacked(scratch, g, some, rows, row, count, linear.factor, acc);
            }
        }
        for (int r = first; r < last; r++) {
            float* out = acc + (size_t)(rows.parts[r] - row) * PANEL;
            if (rows.parts[r + 1] - rows.parts[r] == 2)
                for (int i = 0; i < PANEL; i += LANES)
                    store(out + i, load<f32>(out + i) + load<f32>(out + PANEL + i));
            finish(r, panel_index, out);
        }
    });
}

}  // namespace lg
