// Attention of a step's rows over the cache, block by block with a running softmax (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., FlashAttention, 2022).
//
// The cache, half precision: [slot, block, layer, key or value, kv head, 64 positions]. Within a block
// keys are [position / 16, dim, 16], so that one vector holds one number of 16 positions, and values
// are [position, dim]. What 64 tokens hold in all layers lies in one stretch, so that memory is taken
// as sequences grow, in large pages. Every query walks the same blocks in the same order whatever
// runs beside it: its numbers depend on its own sequence alone. A block that is masked as a whole
// changes nothing.
#pragma once

#include <cmath>

#include "simd.h"

namespace lg {

constexpr int KEY_BLOCK = 64;
constexpr int KEY_VECTORS = KEY_BLOCK / LANES;
constexpr int MAX_QUERIES = 6;     // queries whose scores stay in registers
constexpr int MAX_HEAD_DIM = 256;
constexpr int VALUE_CHUNK = 64;    // numbers of a value that stay in registers

struct CacheShape {
    size_t num_layers, num_kv_heads, head_dim, num_blocks;

    size_t head_size() const { return KEY_BLOCK * head_dim; }
    size_t block_stride() const { return num_layers * 2 * num_kv_heads * head_size(); }
    // Where the keys of a layer's head begin in a slot; its values are `values_after` further on.
    size_t at(size_t slot, size_t layer, size_t head) const {
        return slot * num_blocks * block_stride() +
               (layer * 2 * num_kv_heads + head) * head_size();
    }
    size_t values_after() const { return num_kv_heads * head_size(); }
};

static inline void write_key(uint16_t* block, int head_dim, int place, const float* key) {
    uint16_t* lane = block + (size_t)(place / LANES) * head_dim * LANES + place % LANES;
    for (int d = 0; d < head_dim; d++) lane[(size_t)d * LANES] = to_half(key[d]);
}

static inline void write_value(uint16_t* block, int head_dim, int place, const float* value) {
    uint16_t* row = block + (size_t)place * head_dim;
    for (int d = 0; d < head_dim; d++) row[d] = to_half(value[d]);
}

// A query and what its softmax has seen so far.
struct Query {
    const float* vector;  // [dim], scaled
    float* output;        // [dim], the weighted sum of values
    int32_t position;     // the last position that it sees
    int32_t first;        // the first one
    float largest, total;
};

// Sixteen numbers of the cache, or of a block that was widened before.
static inline f32 load_numbers(const uint16_t* p) { return load_half(p); }
static inline f32 load_numbers(const float* p) { return load<f32>(p); }

template <int N, class T>
static inline void score_block(const T* keys, int head_dim, Query* const* queries,
                               f32 (*scores)[KEY_VECTORS]) {
    for (int q = 0; q < N; q++)
        for (int v = 0; v < KEY_VECTORS; v++) scores[q][v] = splat(0.0f);
    for (int d = 0; d < head_dim; d++) {
        f32 key[KEY_VECTORS];
        for (int v = 0; v < KEY_VECTORS; v++)
            key[v] = load_numbers(keys + ((size_t)v * head_dim + d) * LANES);
        for (int q = 0; q < N; q++) {
            f32 x = splat(queries[q]->vector[d]);
            for (int v = 0; v < KEY_VECTORS; v++) scores[q][v] = fma(x, key[v], scores[q][v]);
        }
    }
}

template <int N, class T>
static inline void add_values(const T* values, int head_dim, int count,
                              Query* const* queries, const float* correction,
                              const float (*weights)[KEY_BLOCK]) {
    constexpr int PARTS = VALUE_CHUNK / LANES;
    int d = 0;
    for (; d + VALUE_CHUNK <= head_dim; d += VALUE_CHUNK) {
        f32 out[N][PARTS];
        for (int q = 0; q < N; q++)
            for (int p = 0; p < PARTS; p++)
                out[q][p] = load<f32>(queries[q]->output + d + p * LANES) * correction[q];
        for (int k = 0; k < count; k++) {
            const T* row = values + (size_t)k * head_dim + d;
            f32 value[PARTS];
            for (int p = 0; p < PARTS; p++) value[p] = load_numbers(row + p * LANES);
            for (int q = 0; q < N; q++) {
                f32 weight = splat(weights[q][k]);
                for (int p = 0; p < PARTS; p++) out[q][p] = fma(weight, value[p], out[q][p]);
            }
        }
        for (int q = 0; q < N; q++)
            for (int p = 0; p < PARTS; p++) store(queries[q]->output + d + p * LANES, out[q][p]);
    }
    for (; d < head_dim; d += LANES) {
        for (int q = 0; q < N; q++) {
            f32 out = load<f32>(queries[q]->output + d) * correction[q];
            for (int k = 0; k < count; k++)
                out = fma(splat(weights[q][k]), load_numbers(values + (size_t)k * head_dim + d), out);
            store(queries[q]->output + d, out);
        }
    }
}

static inline f32 bend(f32 scores, float softcap) {
    // softcap * tanh(scores / softcap), as Gemma 2 has it.
    f32 e = exponential(scores * (2.0f / softcap));
    return softcap * (1.0f - 2.0f / (e + 1.0f));
}

// Adds one block of keys and values, from position `start` on, to N queries of one kv head.
template <int N, class T>
static void attend_block(const T* keys, const T* values, int head_dim, int start,
                         float softcap, Query* const* queries) {
    f32 scores[N][KEY_VECTORS];
    score_block<N>(keys, head_dim, queries, scores);
    alignas(64) float weights[N][KEY_BLOCK];
    float correction[N];
    int last = 0;
    static const i32 ramp = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int q = 0; q < N; q++) {
        Query& query = *queries[q];
        f32 top = splat(-INFINITY);
        for (int v = 0; v < KEY_VECTORS; v++) {
            if (softcap > 0) scores[q][v] = bend(scores[q][v], softcap);
            i32 place = ramp + (start + v * LANES);
            i32 seen = (place <= query.position) & (place >= query.first);
            scores[q][v] = seen ? scores[q][v] : splat(-INFINITY);
            top = larger(top, scores[q][v]);
        }
        float largest = std::fmax(query.largest, maximum(top));
        float base = largest == -INFINITY ? 0.0f : largest;
        f32 total = splat(0.0f);
        for (int v = 0; v < KEY_VECTORS; v++) {
            f32 weight = exponential(scores[q][v] - base);
            total += weight;
            store(&weights[q][v * LANES], weight);
        }
        correction[q] = exponential(splat(query.largest - base))[0];
        if (query.largest == largest) correction[q] = 1.0f;
        query.total = query.total * correction[q] + sum(total);
        query.largest = largest;
        int seen = query.position - start + 1;
        last = seen > last ? seen : last;
    }
    add_values<N>(values, head_dim, last < KEY_BLOCK ? last : KEY_BLOCK, queries, correction,
                  weights);
}

// The queries that see a block, MAX_QUERIES at a time.
template <class T>
static void attend_groups(const T* keys, const T* values, int head_dim, int start, float softcap,
                          Query* queries, int count) {
    Query* group[MAX_QUERIES];
    int size = 0;
    for (int q = 0; q < count; q++) {
        Query& query = queries[q];
        if (query.position >= start && query.first < start + KEY_BLOCK) group[size++] = &query;
        if (size == MAX_QUERIES || (q == count - 1 && size > 0)) {
            switch (size) {
                case 1: attend_block<1>(keys, values, head_dim, start, softcap, group); break;
                case 2: attend_block<2>(keys, values, head_dim, start, softcap, group); break;
                case 3: attend_block<3>(keys, values, head_dim, start, softcap, group); break;
                case 4: attend_block<4>(keys, values, head_dim, start, softcap, group); break;
                case 5: attend_block<5>(keys, values, head_dim, start, softcap, group); break;
                default: attend_block<6>(keys, values, head_dim, start, softcap, group);
            }
            size = 0;
        }
    }
}

// Attends for `count` queries of one sequence that share a kv head, whose keys begin at `keys`.
static void attend_queries(const uint16_t* keys, const CacheShape& shape, float softcap,
                           Query* queries, int count) {
    int head_dim = (int)shape.head_dim;
    int first = queries[0].first, last = queries[0].position;
    for (int q = 0; q < count; q++) {
        first = queries[q].first < first ? queries[q].first : first;
        last = queries[q].position > last ? queries[q].position : last;
        queries[q].largest = -INFINITY;
        queries[q].total = 0;
        for (int d = 0; d < head_dim; d++) queries[q].output[d] = 0;
    }
    for (int start = first / KEY_BLOCK * KEY_BLOCK; start <= last; start += KEY_BLOCK) {
        const uint16_t* key_block = keys + (size_t)(start / KEY_BLOCK) * shape.block_stride();
        const uint16_t* value_block = key_block + shape.values_after();
        if (count > MAX_QUERIES) {
            // Many queries read the block again and again: it is widened once.
            alignas(64) static thread_local float wide[2 * KEY_BLOCK * MAX_HEAD_DIM];
            float* wide_values = wide + shape.head_size();
            for (size_t i = 0; i < shape.head_size(); i += LANES) {
                store(wide + i, load_half(key_block + i));
                store(wide_values + i, load_half(value_block + i));
            }
            attend_groups(wide, wide_values, head_dim, start, softcap, queries, count);
        } else {
            attend_groups(key_block, value_block, head_dim, start, softcap, queries, count);
        }
    }
    for (int q = 0; q < count; q++) {
        float inverse = 1.0f / queries[q].total;
        for (int d = 0; d < head_dim; d++) queries[q].output[d] *= inverse;
    }
}

}  // namespace lg
