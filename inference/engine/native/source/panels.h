// Weights as the matrix kernel reads them, and how they are packed.
//
// A matrix [n, k] is cut into panels of 64 output channels, a panel into groups along k. A group is
// one stretch of memory: integers in the order in which the kernel multiplies them, then a scale
// (and for 4 bits a minimum) per channel in half precision. Reading a panel is one forward stream.
//
//   8 bits: groups of 64, weight = scale * (byte - 128)
//   4 bits: groups of 32, weight = scale * nibble + minimum      (GGUF's Q4_1)
//
// Both carry one more factor per matrix, a power of two, that keeps scales within half precision.
#pragma once

#include <cmath>
#include <cstddef>

#include "simd.h"

namespace lg {

constexpr int PANEL = 64;                 // output channels of a panel
constexpr int VECTORS = PANEL / LANES;    // vectors of channels
constexpr int STEP = 4;                   // consecutive k of one 32-bit lane

struct Int8 {
    static constexpr int BITS = 8, GROUP = 64, STEPS = GROUP / STEP;
    static constexpr size_t DATA = PANEL * GROUP;
    static constexpr size_t BYTES = DATA + PANEL * 2;
    static constexpr size_t PACKED_BYTES = BYTES;
};

struct Int4 {
    static constexpr int BITS = 4, GROUP = 32, STEPS = GROUP / STEP;
    static constexpr size_t DATA = PANEL * GROUP / 2;
    static constexpr size_t BYTES = DATA + PANEL * 4;
    static constexpr size_t PACKED_BYTES = BYTES;
};

// One linear layer. `k` counts padded inputs (whole groups), `n` padded outputs (whole panels).
struct Linear {
    int32_t bits, n, k, n_real;
    float factor;
    int32_t reserved;
    const uint8_t* data;
    const float* bias;  // [n] or null

    int group() const { return bits == 4 ? Int4::GROUP : Int8::GROUP; }
    int num_groups() const { return k / group(); }
    int num_panels() const { return n / PANEL; }
    size_t panel_bytes() const {
        return (size_t)num_groups() * (bits == 4 ? Int4::BYTES : Int8::BYTES);
    }
};

// Finds scale and minimum with which 32 weights are whole numbers 0..15, to within what storing them
// in half precision changed. Such blocks come from a 4-bit file; nothing is lost by packing them.
static inline bool fit_nibbles(const float* w, float* scale, float* minimum) {
    float low = w[0], high = w[0], largest = 0;
    for (int i = 0; i < Int4::GROUP; i++) {
        low = std::fmin(low, w[i]);
        high = std::fmax(high, w[i]);
        largest = std::fmax(largest, std::fabs(w[i]));
    }
    *minimum = low;
    *scale = 0;
    if (high == low) return true;
    float tolerance = largest * 1.2e-3f + 1e-7f;  // half precision: 2^-11 of either end, and a little
    for (int top = 15; top >= 1; top--) {
        float step = (high - low) / top;
        if (step * 0.25f < tolerance) return false;  // the grid is too fine to be told from noise
        bool fits = true;
        for (int i = 0; i < Int4::GROUP && fits; i++) {
            float q = std::nearbyint((w[i] - low) / step);
            fits = std::fabs(low + q * step - w[i]) <= tolerance;
        }
        if (fits) {
            *scale = step;
            return true;
        }
    }
    return false;
}

static inline void put_nibbles(uint8_t* group, int channel, const float* w, float scale,
                               float minimum, float factor) {
    uint16_t half_scale = to_half(scale / factor), half_minimum = to_half(minimum / factor);
    float step = from_half(half_scale) * factor, low = from_half(half_minimum) * factor;
    int vector = channel / LANES, lane = channel % LANES;
    for (int i = 0; i < Int4::GROUP; i++) {
        float q = step == 0 ? 0 : std::nearbyint((w[i] - low) / step);
        int value = (int)std::fmin(15.0f, std::fmax(0.0f, q));
        int step_index = i / STEP, j = i % STEP;
        // A byte holds this step's value below and the value four steps on above.
        size_t at = (size_t)vector * (Int4::DATA / VECTORS) +
                    (size_t)(step_index % (Int4::STEPS / 2)) * 64 + lane * STEP + j;
        group[at] |= (uint8_t)(step_index < Int4::STEPS / 2 ? value : value << 4);
    }
    uint16_t* tail = (uint16_t*)(group + Int4::DATA);
    tail[channel] = half_scale;
    tail[PANEL + channel] = half_minimum;
}

static inline void put_bytes(uint8_t* group, int channel, const float* w, float factor) {
    float largest = 0;
    for (int i = 0; i < Int8::GROUP; i++) largest = std::fmax(largest, std::fabs(w[i]));
    uint16_t half_scale = to_half(largest / 127 / factor);
    float scale = from_half(half_scale) * factor;
    int vector = channel / LANES, lane = channel % LANES;
    for (int i = 0; i < Int8::GROUP; i++) {
        float q = scale == 0 ? 0 : std::nearbyint(w[i] / scale);
        int value = (int)std::fmin(127.0f, std::fmax(-127.0f, q)) + 128;
        size_t at = (size_t)vector * (Int8::DATA / VECTORS) + (size_t)(i / STEP) * 64 +
                    lane * STEP + i % STEP;
        group[at] = (uint8_t)value;
    }
    ((uint16_t*)(group + Int8::DATA))[channel] = half_scale;
}

}  // namespace lg
