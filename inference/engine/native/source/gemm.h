// out[row, n] = sum over k of activation[row, k] * weight[n, k], activations as 8-bit integers with
// one scale per row and group.
//
// The integer sums of a group are exact and groups are added in order, so a row's result is the same
// bit for bit however many rows are computed with it.
#pragma once

#include <algorithm>

#include "panels.h"
#include "quantize.h"
#include "threads.h"

namespace lg {

constexpr int ROW_BLOCK = 288;      // at most so many rows share one unpacking of a 4-bit panel
constexpr int OWN_ROWS = 32;        // with so many for each thread, threads share out rows
constexpr int UNPACK_GROUPS = 18;   // half a panel of so many stays in the first cache
constexpr int MAX_TILE = 6;         // rows whose totals stay in registers
constexpr int MAX_PACKED_ROWS = 32;  // up to here unpacking costs more than it saves

// Vectors of channels that are summed side by side, so that no sum waits for itself.
constexpr int PAIR = 2;

// A 4-bit panel's groups with a byte per weight and float32 scales, for tiles that share them.
struct Unpacked {
    static constexpr int BITS = 4, GROUP = Int4::GROUP, STEPS = Int4::STEPS;
    static constexpr size_t DATA = PANEL * GROUP;
    static constexpr size_t BYTES = DATA + PANEL * 8;
    static constexpr size_t PACKED_BYTES = Int4::BYTES;
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
        if constexpr (Format::BITS == 4)
            *low = load_half((const uint16_t*)tail + PANEL + vector * LANES);
    }
}

// What will be read next of the weights: `bytes` from `start` on for each group that is multiplied
// meanwhile, so that memory is never asked for more at a time than it can be underway with.
struct Ahead {
    const uint8_t* start;
    size_t bytes;

    void fetch(int group) const {
        for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(start + group * bytes + i, 0, 2);
    }
};

// Adds `num_groups` groups, from `first` on, of the vectors of channels `vector` .. `vector + PAIR`
// of a panel into `acc` [ROWS][PANEL].
template <class Format, int ROWS>
static void multiply_tile(const uint8_t* panel, int vector, int first, int num_groups,
                          const Rows& rows, int row, float* acc, const Ahead& ahead) {
    const int8_t* values[ROWS];
    const float *scales[ROWS], *totals[ROWS];
    f32 out[ROWS][PAIR];
    for (int r = 0; r < ROWS; r++) {
        size_t index = (size_t)(row + r) * rows.num_groups + first;
        values[r] = rows.values + (size_t)(row + r) * rows.k + (size_t)first * Format::GROUP;
        scales[r] = rows.scales + index;
        totals[r] = rows.totals + index;
        for (int p = 0; p < PAIR; p++)
            out[r][p] = load<f32>(acc + r * PANEL + (vector + p) * LANES);
    }
    for (int g = 0; g < num_groups; g++, panel += Format::BYTES) {
        ahead.fetch(g);
        const int8_t* a[ROWS];
        i32 sums[ROWS][PAIR];
        for (int r = 0; r < ROWS; r++) {
            a[r] = values[r] + (size_t)g * Format::GROUP;
            int32_t start = Format::BITS == 8 ? load<int32_t>(totals[r] + g) : ROUNDER_BITS;
            for (int p = 0; p < PAIR; p++) sums[r][p] = splat(start);
        }
        multiply_group<Format, ROWS>(panel + vector * (Format::DATA / VECTORS), a, sums);
        f32 step[PAIR], low[PAIR], excess[PAIR];
        for (int p = 0; p < PAIR; p++) {
            load_scales<Format>(panel + Format::DATA, vector + p, &step[p], &low[p]);
            excess[p] = step[p] * -ROUNDER;
        }
        for (int r = 0; r < ROWS; r++)
            for (int p = 0; p < PAIR; p++) {
                // With a minimum, rounded to half a unit of the integer sum: a fiftieth of what the
                // activations' rounding leaves uncertain.
                f32 rest = excess[p];
                if constexpr (Format::BITS == 4) rest = fma(low[p], splat(totals[r][g]), rest);
                rest = fma((f32)sums[r][p], step[p], rest);
                out[r][p] = fma(rest, splat(scales[r][g]), out[r][p]);
            }
    }
    for (int r = 0; r < ROWS; r++)
        for (int p = 0; p < PAIR; p++) store(acc + r * PANEL + (vector + p) * LANES, out[r][p]);
}

// All rows go past two vectors of channels before the next two: these stay in the first cache. `next`
// is where the groups lie, packed, that will be multiplied after these.
template <class Format>
static void multiply_rows(const uint8_t* panel, int first, int num_groups, const Rows& rows, int row,
                          int num_rows, float* acc, const uint8_t* next) {
    int num_tiles = (num_rows + MAX_TILE - 1) / MAX_TILE;
    size_t bytes = Format::PACKED_BYTES / (num_tiles * (VECTORS / PAIR));
    Ahead ahead = {next, bytes};
    for (int v = 0; v < VECTORS; v += PAIR) {
        for (int t = 0, done = 0; t < num_tiles; t++, ahead.start += bytes * num_groups) {
            int size = (num_rows - done + num_tiles - t - 1) / (num_tiles - t);
            float* out = acc + (size_t)done * PANEL;
            auto tile = [&]<int ROWS>() {
                multiply_tile<Format, ROWS>(panel, v, first, num_groups, rows, row + done, out, ahead);
            };
            switch (size) {
                case 1: tile.template operator()<1>(); break;
                case 2: tile.template operator()<2>(); break;
                case 3: tile.template operator()<3>(); break;
                case 4: tile.template operator()<4>(); break;
                case 5: tile.template operator()<5>(); break;
                default: tile.template operator()<6>();
            }
            done += size;
        }
    }
}

// Adds a panel's products with `count` quantized rows to `acc` [count][PANEL].
static void multiply_panel(const Linear& linear, const uint8_t* panel, const Rows& rows, int row,
                           int count, float* acc) {
    int num_groups = linear.num_groups();
    const uint8_t* next = panel + linear.panel_bytes();
    if (linear.bits == 8) {
        multiply_rows<Int8>(panel, 0, num_groups, rows, row, count, acc, next);
        return;
    }
    if (count <= MAX_PACKED_ROWS) {
        multiply_rows<Int4>(panel, 0, num_groups, rows, row, count, acc, next);
        return;
    }
    alignas(64) static thread_local uint8_t scratch[UNPACK_GROUPS * Unpacked::BYTES];
    for (int g = 0; g < num_groups; g += UNPACK_GROUPS) {
        int some = std::min(UNPACK_GROUPS, num_groups - g);
        unpack_groups(panel + g * Int4::BYTES, scratch, some);
        const uint8_t* after = g + some < num_groups ? panel + (g + some) * Int4::BYTES : next;
        multiply_rows<Unpacked>(scratch, g, some, rows, row, count, acc, after);
    }
}

// Into how many blocks rows are cut. Few rows are one block, whose panels the threads share out, so
// that each weight is read once; of many each thread has its own, as in all else that it does for
// a row, so that what it needs lies in its core's cache.
static inline int num_row_blocks(int num_rows, int num_threads) {
    int num_blocks = (num_rows + ROW_BLOCK - 1) / ROW_BLOCK;
    if (num_rows < OWN_ROWS * num_threads) return num_blocks;
    return (num_blocks + num_threads - 1) / num_threads * num_threads;
}

// Calls finish(row, panel, acc) for each row's 64 sums of each panel, from any thread.
template <class Finish>
static void multiply(Pool& pool, const Linear& linear, const Rows& rows, int num_rows,
                     const Finish& finish) {
    int num_panels = linear.num_panels();
    int num_blocks = num_row_blocks(num_rows, pool.size());
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
        multiply_panel(linear, panel, rows, row, count, acc);
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
