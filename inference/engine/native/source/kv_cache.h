// The cache of keys and values: 16-bit integers with a scale for each token and head.
//
// [slot, block, layer, kv head] of 64 positions each: keys, values, scales. Keys are
// [position / 16, dim / 2, 16, 2] and values [position / 2, dim, 2]: a lane of 32 bits holds the two
// numbers that are multiplied and added at once. What 64 tokens hold in all layers lies in one
// stretch, so that memory is taken as sequences grow, in large pages.
#pragma once

#include <cmath>

#include "simd.h"

namespace lg {

constexpr int KEY_BLOCK = 64;
constexpr int KEY_VECTORS = KEY_BLOCK / LANES;
constexpr int MAX_HEAD_DIM = 256;
constexpr int SCALES = 3;  // float32 numbers beside a token's key and value

// Keys and queries are scaled to this length. By Cauchy and Schwarz's inequality no product of two is
// larger than its square: it fits into 32 bits whatever the numbers of a head are.
constexpr float KEY_LENGTH = 32700.0f;
// 64 products of a value with a weight fit into 32 bits: 64 * 2047 * 16383 < 2^31.
constexpr float TOP_VALUE = 2047.0f;
constexpr float LOG2_TOP_WEIGHT = 13.99991194f;  // of 16383
// Smaller values count as zeros; a scale's logarithm and its inverse stay numbers.
constexpr float LEAST_SCALE = 0x1p-60f;

// One head's 64 positions.
struct HeadBlock {
    int16_t* keys;
    int16_t* values;
    float* key_scales;      // [position]; 0 where a key is zero
    float* value_logs;      // [position], log2 of a value's scale
    float* value_inverses;  // [position], 1 / a value's scale
};

struct CacheShape {
    size_t num_layers, num_kv_heads, head_dim, num_blocks;

    size_t head_bytes() const { return KEY_BLOCK * (2 * 2 * head_dim + SCALES * sizeof(float)); }
    // From one block of a sequence to the next one.
    size_t block_bytes() const { return num_layers * num_kv_heads * head_bytes(); }

    // Where a layer's head of a slot begins.
    uint8_t* start(uint8_t* cache, size_t slot, size_t layer, size_t head) const {
        return cache + slot * num_blocks * block_bytes() +
               (layer * num_kv_heads + head) * head_bytes();
    }

    HeadBlock block(uint8_t* start, size_t index) const {
        int16_t* keys = (int16_t*)(start + index * block_bytes());
        int16_t* values = keys + KEY_BLOCK * head_dim;
        float* scales = (float*)(values + KEY_BLOCK * head_dim);
        return {keys, values, scales, scales + KEY_BLOCK, scales + 2 * KEY_BLOCK};
    }
};

// Scales `x` [dim] to KEY_LENGTH and rounds it; the factor that undoes this, 0 for zeros.
static inline float quantize_key(const float* x, int head_dim, int16_t* out) {
    f32 squares = splat(0.0f);
    for (int d = 0; d < head_dim; d += LANES) squares = fma(load<f32>(x + d), load<f32>(x + d), squares);
    float length = std::sqrt(sum(squares));
    float inverse = length > 0 ? KEY_LENGTH / length : 0.0f;
    for (int d = 0; d < head_dim; d += LANES) store_shorts(out + d, nearest(load<f32>(x + d) * inverse));
    return length * (1.0f / KEY_LENGTH);
}

static inline void write_key(const HeadBlock& block, int head_dim, int place, const float* key) {
    alignas(64) int16_t numbers[MAX_HEAD_DIM];
    block.key_scales[place] = quantize_key(key, head_dim, numbers);
    int32_t* lane = (int32_t*)block.keys + (size_t)(place / LANES) * (head_dim / 2) * LANES + place % LANES;
    for (int d = 0; d < head_dim; d += 2) lane[(size_t)d / 2 * LANES] = load<int32_t>(numbers + d);
}

static inline void write_value(const HeadBlock& block, int head_dim, int place, const float* value) {
    f32 largest = splat(0.0f);
    for (int d = 0; d < head_dim; d += LANES) largest = larger(largest, magnitude(load<f32>(value + d)));
    float scale = maximum(largest) * (1.0f / TOP_VALUE);
    scale = scale > LEAST_SCALE ? scale : LEAST_SCALE;
    float inverse = 1.0f / scale;
    block.value_logs[place] = std::log2(scale);
    block.value_inverses[place] = inverse;
    int16_t* pairs = block.values + (size_t)(place / 2) * head_dim * 2 + place % 2;
    for (int d = 0; d < head_dim; d += LANES)
        store_every_other(pairs + 2 * d, nearest(load<f32>(value + d) * inverse));
}

}  // namespace lg
