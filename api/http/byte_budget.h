#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace bifocal::http {

// Bytes that all requests in hand may hold at once: what keeps memory bounded whatever arrives.
// Thread-safe; outlives its shares.
class ByteBudget {
 public:
  explicit ByteBudget(std::size_t most) noexcept : most_(most) {}

  // What one request holds; given back with it.
  class Share {
   public:
    explicit Share(ByteBudget& budget) noexcept : budget_(&budget) {}
    ~Share() { budget_->held_ -= bytes_; }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // False, and nothing taken, where the budget has not that much left.
    bool take(std::size_t bytes) noexcept {
      if (budget_->held_.fetch_add(bytes) + bytes > budget_->most_) {
        budget_->held_ -= bytes;
        return false;
      }
      bytes_ += bytes;
      return true;
    }

   private:
    ByteBudget* budget_;
    std::size_t bytes_ = 0;
  };

  std::size_t held() const noexcept { return held_; }

 private:
  const std::size_t most_;
  std::atomic<std::size_t> held_{0};
};

}  // namespace bifocal::http
