#pragma once

#include <memory>
#include <mutex>
#include <utility>

namespace bifocal::http {

// What is shared as it is now, and replaced as a whole. Thread-safe. (GCC 12's
// std::atomic<std::shared_ptr> lets go of its lock without ordering what was read under it.)
template <typename T>
class Current {
 public:
  Current() = default;
  explicit Current(std::shared_ptr<T> value) : value_(std::move(value)) {}

  std::shared_ptr<T> load() const {
    const std::lock_guard lock(mutex_);
    return value_;
  }
  void store(std::shared_ptr<T> value) {
    {
      const std::lock_guard lock(mutex_);
      value_.swap(value);
    }
    // Here, outside of the lock, goes what was there before.
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<T> value_;
};

}  // namespace bifocal::http
