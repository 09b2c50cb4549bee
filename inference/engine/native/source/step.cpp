// Plain C functions are the whole interface of the library.
#include <atomic>
#include <new>

#include "session.h"

extern "C" {

// The sizes of the structures, so that the caller can check that it means the same ones.
void lg_sizes(int32_t* out) {
    out[0] = sizeof(lg::Linear);
    out[1] = sizeof(lg::Layer);
    out[2] = sizeof(lg::Model);
    out[3] = sizeof(lg::Step);
}

// Null where memory is short. `model` is copied, what it points to is not.
void* lg_open(const lg::Model* model, int32_t num_threads) {
    try {
        return new lg::Session(*model, num_threads);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void lg_close(void* session) {
    delete (lg::Session*)session;
}

// 0, or 1 where memory ran out: the cache may hold some of the step's keys then, the rest is whole.
int32_t lg_step(void* session, const lg::Step* step) {
    try {
        ((lg::Session*)session)->run(*step);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// Bytes of `linear` (its n, k, bits) when packed.
int64_t lg_packed_bytes(const lg::Linear* linear) {
    return (int64_t)linear->num_panels() * (int64_t)linear->panel_bytes();
}

// Packs rows of float32 weights [num_rows, width]; row r is the output channel `channels[r]`. Returns
// how many groups 4 bits do not hold exactly; the rest is left undone once there is one.
int64_t lg_pack(const lg::Linear* linear, const float* weights, int32_t width,
                const int32_t* channels, int32_t num_rows, uint8_t* out, int32_t num_threads) {
    lg::Pool pool(num_threads);
    std::atomic<int64_t> inexact{0};
    int group = linear->group();
    size_t group_bytes = linear->bits == 4 ? lg::Int4::BYTES : lg::Int8::BYTES;
    pool.run(num_rows, [&](int row, int) {
        int channel = channels[row] % lg::PANEL, panel = channels[row] / lg::PANEL;
        int64_t misses = 0;
        if (inexact.load(std::memory_order_relaxed) > 0) return;
        for (int g = 0; g < linear->num_groups(); g++) {
            float w[lg::Int8::GROUP] = {};
            for (int i = 0; i < group && g * group + i < width; i++)
                w[i] = weights[(size_t)row * width + (size_t)g * group + i];
            uint8_t* at = out + (size_t)panel * linear->panel_bytes() + (size_t)g * group_bytes;
            if (linear->bits == 8) {
                lg::put_bytes(at, channel, w, linear->factor);
            } else {
                float scale, minimum;
                if (lg::fit_nibbles(w, &scale, &minimum)) {
                    lg::put_nibbles(at, channel, w, scale, minimum, linear->factor);
                } else {
                    misses++;
                }
            }
        }
        inexact += misses;
    });
    return inexact;
}
}
