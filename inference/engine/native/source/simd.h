// Vectors of 16 lanes, in the compiler's own vector types: AVX-512 holds one in a register, other
// machines split it. Only what the types cannot say is written for an instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lg {

constexpr int LANES = 16;

typedef float f32 __attribute__((vector_size(64)));
typedef int32_t i32 __attribute__((vector_size(64)));
typedef int16_t i16 __attribute__((vector_size(64)));
typedef uint8_t u8 __attribute__((vector_size(64)));
typedef int8_t s8x16 __attribute__((vector_size(16)));
typedef int16_t s16x16 __attribute__((vector_size(32)));

template <class V, class T>
static inline V load(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <class V, class T>
static inline void store(T* p, V v) {
    std::memcpy(p, &v, sizeof v);
}

static inline f32 splat(float x) {
#if defined(__AVX512F__)
    return (f32)_mm512_set1_ps(x);
#else
    return f32{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#endif
}

static inline i32 splat(int32_t x) {
    return i32{} + x;
}

static inline f32 to_float(i32 v) {
    return __builtin_convertvector(v, f32);
}

// a * b + c, rounded once where the machine can. Compiled without contraction, so that a sum is formed
// alike wherever it appears: what runs beside a row must not change its numbers.
static inline f32 fma(f32 a, f32 b, f32 c) {
#if defined(__AVX512F__)
    return (f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    __m256 x[2], y[2], z[2];
    std::memcpy(x, &a, 64);
    std::memcpy(y, &b, 64);
    std::memcpy(z, &c, 64);
    for (int h = 0; h < 2; h++) z[h] = _mm256_fmadd_ps(x[h], y[h], z[h]);
    std::memcpy(&c, z, 64);
    return c;
#else
    return a * b + c;
#endif
}

// 16 half-precision numbers, widened.
static inline f32 load_half(const uint16_t* p) {
#if defined(__AVX512F__)
    return (f32)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
    f32 v;
    __m256 low = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
    __m256 high = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)));
    std::memcpy(&v, &low, 32);
    std::memcpy((char*)&v + 32, &high, 32);
    return v;
#else
    f32 v;
    for (int i = 0; i < LANES; i++) {
        _Float16 h;
        std::memcpy(&h, p + i, 2);
        v[i] = (float)h;
    }
    return v;
#endif
}

static inline uint16_t to_half(float x) {
#if defined(__F16C__) || defined(__AVX512F__)
    return (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
#else
    _Float16 h = (_Float16)x;
    uint16_t bits;
    std::memcpy(&bits, &h, 2);
    return bits;
#endif
}

static inline float from_half(uint16_t bits) {
#if defined(__F16C__) || defined(__AVX512F__)
    return _cvtsh_ss(bits);
#else
    _Float16 h;
    std::memcpy(&h, &bits, 2);
    return (float)h;
#endif
}

static inline float from_bfloat16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float x;
    std::memcpy(&x, &wide, 4);
    return x;
}

// Per 32-bit lane: acc + the sum of four products of an unsigned byte of `w` and a signed byte of
// `a` (four bytes, the same for all lanes). Exact: nothing saturates.
static inline i32 dot4(i32 acc, u8 w, int32_t a) {
#if defined(__AVX512VNNI__)
    return (i32)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(a));
#elif defined(__AVX2__)
    __m256i even_a = _mm256_set1_epi32((int32_t)(((uint32_t)(int16_t)(int8_t)a & 0xffff) |
                                                 ((uint32_t)(int16_t)(int8_t)(a >> 16) << 16)));
    __m256i odd_a = _mm256_set1_epi32((int32_t)(((uint32_t)(int16_t)(int8_t)(a >> 8) & 0xffff) |
                                                ((uint32_t)(int16_t)(int8_t)(a >> 24) << 16)));
    __m256i halves[2], sums[2];
    std::memcpy(halves, &w, 64);
    std::memcpy(sums, &acc, 64);
    for (int h = 0; h < 2; h++) {
        __m256i even = _mm256_and_si256(halves[h], _mm256_set1_epi16(0xff));
        __m256i odd = _mm256_srli_epi16(halves[h], 8);
        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(even, even_a));
        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(odd, odd_a));
    }
    std::memcpy(&acc, sums, 64);
    return acc;
#else
    int8_t bytes[4];
    std::memcpy(bytes, &a, 4);
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++) acc[i] += (int32_t)w[4 * i + j] * bytes[j];
    return acc;
#endif
}

// Per 32-bit lane: acc + the two products of its 16-bit numbers with those of `pair` (two numbers, the
// same for all lanes). None of them is -2^15.
static inline i32 dot2(i32 acc, i16 w, int32_t pair) {
#if defined(__AVX512VNNI__)
    return (i32)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32(pair));
#elif defined(__AVX2__)
    __m256i halves[2], sums[2];
    std::memcpy(halves, &w, 64);
    std::memcpy(sums, &acc, 64);
    for (int h = 0; h < 2; h++)
        sums[h] = _mm256_add_epi32(sums[h], _mm256_madd_epi16(halves[h], _mm256_set1_epi32(pair)));
    std::memcpy(&acc, sums, 64);
    return acc;
#else
    int16_t numbers[2];
    std::memcpy(numbers, &pair, 4);
    for (int i = 0; i < LANES; i++)
        acc[i] += (int32_t)w[2 * i] * numbers[0] + (int32_t)w[2 * i + 1] * numbers[1];
    return acc;
#endif
}

// Lane i of the result is lane i + DISTANCE of `v`, around the end.
template <int DISTANCE, class V>
static inline V turn(V v) {
    i32 order;
    for (int i = 0; i < LANES; i++) order[i] = (i + DISTANCE) % LANES;
    return __builtin_shuffle(v, order);
}

static inline f32 larger(f32 a, f32 b) {
#if defined(__AVX512F__)
    return (f32)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return a > b ? a : b;
#endif
}

static inline f32 smaller(f32 a, f32 b) {
#if defined(__AVX512F__)
    return (f32)_mm512_min_ps((__m512)a, (__m512)b);
#else
    return a < b ? a : b;
#endif
}

// The sum of all lanes, halves first: always in the same order.
template <class V>
static inline auto sum(V v) {
    v += turn<8>(v);
    v += turn<4>(v);
    v += turn<2>(v);
    v += turn<1>(v);
    return v[0];
}

static inline float maximum(f32 v) {
    v = larger(v, turn<8>(v));
    v = larger(v, turn<4>(v));
    v = larger(v, turn<2>(v));
    return larger(v, turn<1>(v))[0];
}

static inline f32 magnitude(f32 v) {
    return (f32)((i32)v & 0x7fffffff);
}

// Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, ties to even.
constexpr float ROUNDER = 12582912.0f;

static inline f32 round_to_whole(f32 v) {
    return (v + ROUNDER) - ROUNDER;
}

// The nearest whole numbers, ties to even.
static inline i32 nearest(f32 v) {
#if defined(__AVX512F__)
    return (i32)_mm512_cvtps_epi32((__m512)v);
#else
    return __builtin_convertvector(round_to_whole(v), i32);
#endif
}

// Numbers that fit into a byte, as 16 bytes.
static inline void store_bytes(int8_t* p, i32 v) {
#if defined(__AVX512F__)
    __m128i bytes = _mm512_cvtepi32_epi8((__m512i)v);
    std::memcpy(p, &bytes, sizeof bytes);
#else
    store(p, __builtin_convertvector(v, s8x16));
#endif
}

// Numbers that fit into 16 bits, as 32 bytes.
static inline void store_shorts(int16_t* p, i32 v) {
#if defined(__AVX512F__)
    __m256i shorts = _mm512_cvtepi32_epi16((__m512i)v);
    std::memcpy(p, &shorts, sizeof shorts);
#else
    store(p, __builtin_convertvector(v, s16x16));
#endif
}

// Numbers that fit into 16 bits, into every other place from `p` on; those between are not touched,
// for another thread may be writing them.
static inline void store_every_other(int16_t* p, i32 v) {
#if defined(__AVX512BW__)
    _mm512_mask_storeu_epi16(p, 0x55555555, (__m512i)v);
#else
    for (int i = 0; i < LANES; i++) p[2 * i] = (int16_t)v[i];
#endif
}

// 2^x for x of -125 to 125 with a relative error below 3e-6 (a polynomial of degree 4 of least largest
// error); exactly 1 for 0.
static inline f32 power_of_2(f32 x) {
    f32 rounded = x + ROUNDER;
    f32 r = x - (rounded - ROUNDER);
    f32 p = splat(9.58285362e-3f);
    p = fma(p, r, splat(5.59064248e-2f));
    p = fma(p, r, splat(2.40240986e-1f));
    p = fma(p, r, splat(6.93124193e-1f));
    p = fma(p, r, splat(1.0f));
    // The lowest bits of `rounded` are a whole number: added to p's exponent, they multiply by 2^it.
    return (f32)((i32)p + ((i32)rounded << 23));
}

// 2^x for x up to 125; exactly 0 for what would be below 2^-125, minus infinity included.
static inline f32 decay(f32 x) {
    return x < -125.0f ? splat(0.0f) : power_of_2(x);
}

constexpr float LOG2_E = 1.44269504088896341f;

// 1 + exp(-x), no further from 1 or larger than 2^60.
static inline f32 logistic_divisor(f32 x) {
    f32 y = larger(smaller(x * -LOG2_E, splat(60.0f)), splat(-60.0f));
    return 1.0f + power_of_2(y);
}

// 1 / (1 + exp(-x))
static inline f32 sigmoid(f32 x) {
    return 1.0f / logistic_divisor(x);
}

// Of two vectors, with one division.
static inline void sigmoid(f32* x) {
    f32 a = logistic_divisor(x[0]), b = logistic_divisor(x[1]);
    f32 both = 1.0f / (a * b);
    x[0] = both * b;
    x[1] = both * a;
}

}  // namespace lg
