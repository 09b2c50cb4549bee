// Attention of a step's rows over the cache, block by block with a running softmax (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., FlashAttention, 2022),
// in 16-bit integers: exact sums of 32 bits, float32 between a block's sums and the next one's.
//
// Every query walks the same blocks in the same order whatever runs beside it: its numbers depend on
// its own sequence alone. A block that is masked as a whole changes nothing.
#pragma once

#include <algorithm>
#include <cmath>

#include "kv_cache.h"

namespace lg {

constexpr int MAX_QUERIES = 6;   // queries whose scores stay in registers
constexpr int VALUE_PARTS = 4;   // vectors of a value's numbers that stay in registers

// A query and what its softmax has seen so far. Scores are powers of two, a value's scale is part of
// its score: what becomes an integer is the weight that its integers count with.
struct Query {
    const int16_t* vector;  // [dim]
    float scale;            // of a score; to the base 2 unless there is a soft cap
    float* output;          // [dim], the weighted sum of values
    int32_t position;       // the last position that it sees
    int32_t first;          // the first one
    float largest;
    f32 totals;             // to be added up: the weights without the values' scales
};

// Sums of products of N queries with the first `VECTORS_SEEN` vectors of a block's keys.
template <int N, int VECTORS_SEEN>
static inline void multiply_keys(const int16_t* keys, int head_dim, Query* const* queries,
                                 i32 (*out)[KEY_VECTORS]) {
    i32 sums[N][VECTORS_SEEN];
    for (int q = 0; q < N; q++)
        for (int v = 0; v < VECTORS_SEEN; v++) sums[q][v] = splat(0);
    for (int d = 0; d < head_dim; d += 2) {
        i16 key[VECTORS_SEEN];
        for (int v = 0; v < VECTORS_SEEN; v++)
            key[v] = load<i16>(keys + ((size_t)v * head_dim + d) * LANES);
        for (int q = 0; q < N; q++) {
            int32_t pair = load<int32_t>(queries[q]->vector + d);
            for (int v = 0; v < VECTORS_SEEN; v++) sums[q][v] = dot2(sums[q][v], key[v], pair);
        }
    }
    for (int q = 0; q < N; q++)
        for (int v = 0; v < VECTORS_SEEN; v++) out[q][v] = sums[q][v];
}

// PARTS vectors of numbers of the first `count` values, from the one at `values` on, are added to
// the outputs from `at` on.
template <int N, int PARTS>
static inline void add_values(const int16_t* values, int head_dim, int count, int at,
                              Query* const* queries, const float* before, const float* now,
                              const int16_t (*weights)[KEY_BLOCK]) {
    i32 sums[N][PARTS];
    for (int q = 0; q < N; q++)
        for (int p = 0; p < PARTS; p++) sums[q][p] = splat(0);
    for (int k = 0; k < count; k += 2) {
        i16 value[PARTS];
        for (int p = 0; p < PARTS; p++)
            value[p] = load<i16>(values + (size_t)k * head_dim + 2 * (at + p * LANES));
        for (int q = 0; q < N; q++) {
            int32_t pair = load<int32_t>(weights[q] + k);
            for (int p = 0; p < PARTS; p++) sums[q][p] = dot2(sums[q][p], value[p], pair);
        }
    }
    for (int q = 0; q < N; q++)
        for (int p = 0; p < PARTS; p++) {
            float* out = queries[q]->output + at + p * LANES;
            store(out, fma(to_float(sums[q][p]), splat(now[q]), load<f32>(out) * before[q]));
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

// A query's scores for a block's keys, hidden ones included, from the sums of products.
static inline void make_scores(const Query& query, const HeadBlock& block, int start, float softcap,
                               int num_vectors, const i32* sums, f32* scores) {
    for (int v = 0; v < num_vectors; v++) {
        f32 scale = load<f32>(block.key_scales + v * LANES) * query.scale;
        f32 value_log = load<f32>(block.value_logs + v * LANES);
        f32 sum = to_float(sums[v]);
        scores[v] = softcap > 0 ? fma(bend(sum * scale, softcap), splat(LOG2_E), value_log)
                                : fma(sum, scale, value_log);
    }
    hide(query, start, num_vectors, scores);
}

// Adds one block of keys and values, from position `start` on, to N queries of one kv head.
template <int N, int NUM_VECTORS>
static void attend_block(const HeadBlock& block, int head_dim, int start, int count, float softcap,
                         Query* const* queries) {
    i32 sums[N][KEY_VECTORS];
    multiply_keys<N, NUM_VECTORS>(block.keys, head_dim, queries, sums);
    f32 scores[N][NUM_VECTORS];
    alignas(64) float seen[LANES] = {}, here[LANES] = {}, before[LANES], now[LANES];
    for (int q = 0; q < N; q++) {
        make_scores(*queries[q], block, start, softcap, NUM_VECTORS, sums[q], scores[q]);
        f32 top = scores[q][0];
        for (int v = 1; v < NUM_VECTORS; v++) top = larger(top, scores[q][v]);
        here[q] = maximum(top);
        seen[q] = queries[q]->largest;
    }
    f32 both = larger(load<f32>(seen), load<f32>(here));
    f32 base = both == -INFINITY ? splat(0.0f) : both;
    store(before, decay(load<f32>(seen) - base));
    store(now, decay(load<f32>(here) - base));
    alignas(64) int16_t weights[N][KEY_BLOCK];
    for (int q = 0; q < N; q++) {
        queries[q]->largest = both[q];
        // The block's own largest weight becomes 16383.
        float top = here[q] == -INFINITY ? 0.0f : here[q] - LOG2_TOP_WEIGHT;
        f32 total = splat(0.0f);
        for (int v = 0; v < NUM_VECTORS; v++) {
            f32 weight = decay(scores[q][v] - top);
            total = fma(weight, load<f32>(block.value_inverses + v * LANES), total);
            store_shorts(&weights[q][v * LANES], nearest(weight));
        }
        queries[q]->totals = fma(total, splat(now[q]), queries[q]->totals * before[q]);
    }
    int at = 0;
    for (; at + VALUE_PARTS * LANES <= head_dim; at += VALUE_PARTS * LANES)
        add_values<N, VALUE_PARTS>(block.values, head_dim, count, at, queries, before, now, weights);
    for (; at < head_dim; at += LANES)
        add_values<N, 1>(block.values, head_dim, count, at, queries, before, now, weights);
}

template <int N>
static void attend_some(const HeadBlock& block, int head_dim, int start, float softcap,
                        Query* const* queries) {
    int count = 0;
    for (int q = 0; q < N; q++) count = std::max(count, queries[q]->position - start + 1);
    count = std::min(count, KEY_BLOCK);
    switch ((count + LANES - 1) / LANES) {
        case 1: attend_block<N, 1>(block, head_dim, start, count, softcap, queries); break;
        case 2: attend_block<N, 2>(block, head_dim, start, count, softcap, queries); break;
        case 3: attend_block<N, 3>(block, head_dim, start, count, softcap, queries); break;
        default: attend_block<N, 4>(block, head_dim, start, count, softcap, queries);
    }
}

// The queries that see a block, MAX_QUERIES at a time.
static void attend_groups(const HeadBlock& block, int head_dim, int start, float softcap,
                          Query* queries, int count) {
    Query* group[MAX_QUERIES];
    int size = 0;
    auto attend = [&]<int N>() { attend_some<N>(block, head_dim, start, softcap, group); };
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

// Attends for `count` queries of one sequence that share a kv head, which begins at `head`.
static void attend_queries(uint8_t* head, const CacheShape& shape, float softcap, Query* queries,
                           int count) {
    int head_dim = (int)shape.head_dim;
    int first = queries[0].first, last = queries[0].position;
    for (int q = 0; q < count; q++) {
        first = std::min(first, queries[q].first);
        last = std::max(last, queries[q].position);
        queries[q].largest = -INFINITY;
        queries[q].totals = splat(0.0f);
        for (int d = 0; d < head_dim; d += LANES) store(queries[q].output + d, splat(0.0f));
    }
    for (int start = first / KEY_BLOCK * KEY_BLOCK; start <= last; start += KEY_BLOCK)
        attend_groups(shape.block(head, start / KEY_BLOCK), head_dim, start, softcap, queries, count);
    for (int q = 0; q < count; q++) {
        float inverse = 1.0f / sum(queries[q].totals);
        for (int d = 0; d < head_dim; d += LANES)
            store(queries[q].output + d, load<f32>(queries[q].output + d) * inverse);
    }
}

}  // namespace lg
