#include "nn/cpu/team.h"

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bifocal::nn::cpu {
namespace {

// Looks at what is waited for, a few nanoseconds each, before a helper sleeps; a step follows the
// one before within that time.
constexpr int kLooks = 4000;

thread_local Team* own_team = nullptr;

void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

constexpr std::uint64_t word(std::uint32_t step, int parts) noexcept {
  return std::uint64_t{step} << 32 | static_cast<std::uint64_t>(parts) << 16;
}
constexpr std::uint32_t step_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 32);
}
constexpr int parts_of(std::uint64_t word) noexcept {
  return static_cast<int>(word >> 16 & 0xffff);
}
constexpr int taken_of(std::uint64_t word) noexcept { return static_cast<int>(word & 0xffff); }

}  // namespace

Team::Team(int threads, const std::function<void(int)>& begin)
    : before_(std::exchange(own_team, this)) {
  for (int number = 1; number < threads; ++number)
    helpers_.emplace_back([this, begin, number] {
      if (begin) begin(number);
      help();
    });
}

Team::~Team() {
  stopping_.store(true, std::memory_order_relaxed);
  step_.fetch_add(1, std::memory_order_release);
  step_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  own_team = before_;
}

Team* Team::own() noexcept { return own_team; }

void Team::run_parts(int parts, Call call, const void* part) {
  const std::uint32_t step = step_.load(std::memory_order_relaxed) + 1;
  call_.store(call, std::memory_order_relaxed);
  part_.store(part, std::memory_order_relaxed);
  left_.store(parts, std::memory_order_relaxed);
  taken_.store(word(step, parts), std::memory_order_release);
  step_.store(step, std::memory_order_release);
  step_.notify_all();
  work(step);
  for (int looks = 0; left_.load(std::memory_order_acquire) > 0; ++looks)
    looks < kLooks ? pause() : std::this_thread::yield();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Team::work(std::uint32_t step) {
  for (;;) {
    std::uint64_t seen = taken_.load(std::memory_order_acquire);
    const Call call = call_.load(std::memory_order_relaxed);
    const void* part = part_.load(std::memory_order_relaxed);
    do {
      if (step_of(seen) != step || taken_of(seen) == parts_of(seen)) return;
    } while (!taken_.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel,
                                           std::memory_order_acquire));
    try {
      call(part, taken_of(seen));
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
    left_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

void Team::help() {
  std::uint32_t done = 0;
  for (;;) {
    std::uint32_t step = step_.load(std::memory_order_acquire);
    for (int looks = 0; step == done && looks < kLooks; ++looks) {
      pause();
      step = step_.load(std::memory_order_acquire);
    }
    if (step == done) {
      step_.wait(done, std::memory_order_acquire);
      continue;
    }
    if (stopping_.load(std::memory_order_relaxed)) return;
    work(step);
    done = step;
  }
}

}  // namespace bifocal::nn::cpu
