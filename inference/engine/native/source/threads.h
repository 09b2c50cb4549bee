// A pool whose threads share out the units of one phase after the other.
//
// A step is hundreds of short phases, so a thread that has run out of units spins for a moment before
// it sleeps, and the caller waits for units, not for threads: one that the system has put aside with
// nothing in hand holds nobody up.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#include "simd.h"

namespace lg {

static inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

class Pool {
   public:
    // Where the system gives no more threads, fewer do the work.
    explicit Pool(int num_threads) {
        try {
            workers_.reserve(num_threads > 1 ? num_threads - 1 : 0);
            for (int i = 1; i < num_threads; i++) workers_.emplace_back([this, i] { serve(i); });
        } catch (const std::system_error&) {
        }
    }

    ~Pool() {
        stopping_ = true;
        ticket_.fetch_add(uint64_t(1) << GENERATION_SHIFT);
        ticket_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    int size() const { return (int)workers_.size() + 1; }

    // Calls f(unit, thread) for every unit below `count` and returns when all are done.
    template <class F>
    void run(int count, const F& f) {
        if (count <= 0) return;
        if (count == 1 || workers_.empty()) {
            for (int unit = 0; unit < count; unit++) f(unit, 0);
            return;
        }
        call_ = [](const void* context, int unit, int thread) {
            (*(const F*)context)(unit, thread);
        };
        context_ = &f;
        done_.store(0, std::memory_order_relaxed);
        generation_ = (generation_ + 1) & 0xffff;
        ticket_.store(((uint64_t)generation_ << GENERATION_SHIFT) |
                          ((uint64_t)count << COUNT_SHIFT),
                      std::memory_order_seq_cst);
        if (num_asleep_.load(std::memory_order_seq_cst) > 0) ticket_.notify_all();
        work(0);
        for (int spins = 0; done_.load(std::memory_order_acquire) != count;) {
            relax();
            if (++spins > SPINS) sched_yield();
        }
    }

   private:
    // One word: the generation of the phase, its number of units, and the next unit to take.
    static constexpr int COUNT_SHIFT = 24;
    static constexpr int GENERATION_SHIFT = 48;
    static constexpr uint64_t FIELD = (1 << 24) - 1;
    // About 40 microseconds: longer than a serial stretch inside a step, shorter than a time slice.
    static constexpr int SPINS = 1000;

    void work(int thread) {
        for (;;) {
            uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
            uint64_t unit = ticket & FIELD, count = (ticket >> COUNT_SHIFT) & FIELD;
            if (unit >= count) return;
            call_(context_, (int)unit, thread);
            done_.fetch_add(1, std::memory_order_acq_rel);
        }
    }

    static bool has_units(uint64_t ticket) {
        return (ticket & FIELD) < ((ticket >> COUNT_SHIFT) & FIELD);
    }

    void serve(int thread) {
        int spins = 0;
        while (!stopping_.load(std::memory_order_relaxed)) {
            uint64_t seen = ticket_.load(std::memory_order_acquire);
            if (has_units(seen)) {
                work(thread);
                spins = 0;
            } else if (++spins < SPINS) {
                relax();
            } else {
                num_asleep_.fetch_add(1, std::memory_order_seq_cst);
                ticket_.wait(seen, std::memory_order_seq_cst);
                num_asleep_.fetch_sub(1, std::memory_order_seq_cst);
                spins = 0;
            }
        }
    }

    std::vector<std::thread> workers_;
    alignas(64) std::atomic<uint64_t> ticket_{0};
    alignas(64) std::atomic<int> done_{0};
    alignas(64) std::atomic<int> num_asleep_{0};
    std::atomic<bool> stopping_{false};
    uint32_t generation_ = 0;
    void (*call_)(const void*, int, int) = nullptr;
    const void* context_ = nullptr;
};

}  // namespace lg
