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

#include <algorithm>
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
    for (int d = 0; d < head_dim; d += LANES) {
        uint16_t halves[LANES];
        store_half(halves, load<f32>(key + d));
        for (int i = 0; i < LANES; i++) lane[(size_t)(d + i) * LANES] = halves[i];
    }
}

static inline void write_value(uint16_t* block, int head_dim, int place, const float* value) {
    uint16_t* row = block + (size_t)place * head_dim;
    for (int d = 0; d < head_dim; d += LANES) store_half(row + d, load<f32>(value + d));
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

// Scores of N queries for the first `VECTORS_SEEN` vectors of a block's keys.
template <int N, int VECTORS_SEEN, class T>
static inline void score_keys(const T* keys, int head_dim, Query* const* queries,
                              f32 (*scores)[KEY_VECTORS]) {
    f32 sums[N][VECTORS_SEEN];
    for (int q = 0; q < N; q++)
        for (int v = 0; v < VECTORS_SEEN; v++) sums[q][v] = splat(0.0f);
    for (int d = 0; d < head_dim; d++) {
        f32 key[VECTORS_SEEN];
        for (int v = 0; v < VECTORS_SEEN; v++)
            key[v] = load_numbers(keys + ((size_t)v * head_dim + d) * LANES);
        for (int q = 0; q < N; q++) {
            f32 x = splat(queries[q]->vector[d]);
            for (int v = 0; v < VECTORS_SEEN; v++) sums[q][v] = fma(x, key[v], sums[q][v]);
        }
    }
    for (int q = 0; q < N; q++)
        for (int v = 0; v < VECTORS_SEEN; v++) scores[q][v] = sums[q][v];
}

template <int N, class T>
static inline void score_block(const T* keys, int head_dim, Query* const* queries, int num_vectors,
                               f32 (*scores)[KEY_VECTORS]) {
    switch (num_vectors) {
        case 1: score_keys<N, 1>(keys, head_dim, queries, scores); break;
        case 2: score_keys<N, 2>(keys, head_dim, queries, scores); break;
        case 3: score_keys<N, 3>(keys, head_dim, queries, scores); break;
        default: score_keys<N, 4>(keys, head_dim, queries, scores);
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
    return softcap * (2.0f * sigmoid(scores * (2.0f / softcap)) - 1.0f);
}

// Scores of keys that a query must not see become minus infinity.
static inline void hide(const Query& query, int start, int num_vectors, f32* scores) {
    static const i32 ramp = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (query.first <= start && query.position >= start + num_vectors * LANES - 1) return;
    for (int v = 0; v < num_vectors; v++) {
        i32 place = ramp + (start + v * LANES);
        i32 seen = (place <= query.position) & (place >= query.first);
        scores[v] = seen ? scores[v] : splat(-INFINITY);
    }
}

// Adds one block of keys and values, from position `start` on, to N queries of one kv head.
template <int N, class T>
static void attend_block(const T* keys, const T* values, int head_dim, int start, float softcap,
                         Query* const* queries) {
    int last = 0;
    for (int q = 0; q < N; q++) last = std::max(last, queries[q]->position - start + 1);
    last = std::min(last, KEY_BLOCK);
    int num_vectors = (last + LANES - 1) / LANES;
    f32 scores[N][KEY_VECTORS];
    score_block<N>(keys, head_dim, queries, num_vectors, scores);
    alignas(64) float weights[N][KEY_BLOCK], before[LANES] = {}, base[LANES] = {}, correction[LANES];
    for (int q = 0; q < N; q++) {
        Query& query = *queries[q];
        if (softcap > 0)
            for (int v = 0; v < num_vectors; v++) scores[q][v] = bend(scores[q][v], softcap);
        hide(query, start, num_vectors, scores[q]);
        f32 top = scores[q][0];
        for (int v = 1; v < num_vectors; v++) top = larger(top, scores[q][v]);
        float largest = maximum(top);
        largest = largest > query.largest ? largest : query.largest;
        before[q] = query.largest;
        base[q] = largest == -INFINITY ? 0.0f : largest;
        query.largest = largest;
    }
    store(correction, decay(load<f32>(before) - load<f32>(base)));
    for (int q = 0; q < N; q++) {
        f32 total = splat(0.0f);
        for (int v = 0; v < num_vectors; v++) {
            f32 weight = decay(scores[q][v] - base[q]);
            total += weight;
            store(&weights[q][v * LANES], weight);
        }
        queries[q]->total = queries[q]->total * correction[q] + sum(total);
    }
    add_values<N>(values, head_dim, last, queries, correction, weights);
}

// The queries that see a block, MAX_QUERIES at a time.
template <class T>
static void attend_groups(const T* keys, const T* values, int head_dim, int start, float softcap,
                          Query* queries, int count) {
    Query* group[MAX_QUERIES];
    int size = 0;
    auto attend = [&]<int N>() {
        attend_block<N>(keys, values, head_dim, start, softcap, group);
    };
    for (int q = 0; q < count; q++) {
        Query& query = queries[q];
        if (query.position >= start && query.first < start + KEY_BLOCK) group[size++] = &query;
        if (size == MAX_QUERIES || (q == count - 1 && size > 0)) {
            switch (size) {
                case 1: attend.template operator()<1>(); break;
                case 2: attend.template operator()<2>(); break;
                case 3: attend.template operator()<3>(); break;
                case 4: attend.template operator()<4>(); break;
                case 5: attend.template operator()<5>(); break;
                default: attend.template operator()<6>();
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
