// A pool whose threads share out the units of one phase after the other.
//
// A step is hundreds of short phases, so a thread that has run out of units spins for a moment before
// it sleeps, and the caller waits for units, not for threads: one that the system has put aside with
// nothing in hand holds nobody up. So helpers give way between two phases, where they have nothing in
// hand, before they are put aside in the midst of a unit.
#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>
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
    explicit Pool(int num_threads) : shares_(num_threads > 1 ? num_threads : 1) {
        try {
            workers_.reserve(num_threads > 1 ? num_threads - 1 : 0);
            for (int i = 1; i < num_threads; i++) workers_.emplace_back([this, i] { serve(i); });
        } catch (const std::system_error&) {
        }
    }

    ~Pool() {
        stopping_ = true;
        phase_.fetch_add(1);
        phase_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    int size() const { return (int)workers_.size() + 1; }

    // Calls f(unit, thread) for every unit below `count` and returns when all are done. Thread t begins
    // with the t-th share of the units, and helps the others when it is through: what one phase left in
    // a core's cache, the next finds there where units of both mean the same rows.
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
        int64_t num_shares = size();
        for (int64_t t = 0; t < num_shares; t++) {
            uint64_t first = count * t / num_shares, end = count * (t + 1) / num_shares;
            shares_[t].units.store(end << END_SHIFT | first, std::memory_order_release);
        }
        phase_.fetch_add(1, std::memory_order_seq_cst);
        if (num_asleep_.load(std::memory_order_seq_cst) > 0) phase_.notify_all();
        work(0);
        for (int spins = 0; done_.load(std::memory_order_acquire) != count;) {
            relax();
            if (++spins > SPINS) sched_yield();
        }
    }

   private:
    // One word: the end of a share, and the next unit to take.
    struct alignas(64) Share {
        std::atomic<uint64_t> units{0};
    };
    static constexpr int END_SHIFT = 32;
    static constexpr uint64_t NEXT = 0xffffffff;
    // About 40 microseconds: longer than a serial stretch inside a step, shorter than a time slice.
    static constexpr int SPINS = 1000;
    static constexpr std::chrono::microseconds GIVE_WAY_EVERY{100};

    void work(int thread) {
        size_t num_shares = shares_.size();
        for (size_t i = 0; i < num_shares; i++) {
            Share& share = shares_[(thread + i) % num_shares];
            for (;;) {
                uint64_t taken = share.units.fetch_add(1, std::memory_order_acq_rel);
                uint64_t unit = taken & NEXT;
                if (unit >= taken >> END_SHIFT) break;
                call_(context_, (int)unit, thread);
                done_.fetch_add(1, std::memory_order_acq_rel);
            }
        }
    }

    // Costs a call of the system where nobody waits for the processor, hence not after every phase.
    static void give_way() {
        thread_local auto given = std::chrono::steady_clock::now();
        auto now = std::chrono::steady_clock::now();
        if (now - given < GIVE_WAY_EVERY) return;
        given = now;
        sched_yield();
    }

    void serve(int thread) {
        uint32_t seen = 0;
        int spins = 0;
        while (!stopping_.load(std::memory_order_relaxed)) {
            uint32_t phase = phase_.load(std::memory_order_acquire);
            if (phase != seen) {
                seen = phase;
                work(thread);
                spins = 0;
                give_way();
            } else if (++spins < SPINS) {
                relax();
            } else {
                num_asleep_.fetch_add(1, std::memory_order_seq_cst);
                phase_.wait(seen, std::memory_order_seq_cst);
                num_asleep_.fetch_sub(1, std::memory_order_seq_cst);
                spins = 0;
            }
        }
    }

    std::vector<Share> shares_;
    std::vector<std::thread> workers_;
    alignas(64) std::atomic<uint32_t> phase_{0};
    alignas(64) std::atomic<int> done_{0};
    alignas(64) std::atomic<int> num_asleep_{0};
    std::atomic<bool> stopping_{false};
    void (*call_)(const void*, int, int) = nullptr;
    const void* context_ = nullptr;
};

}  // namespace lg
