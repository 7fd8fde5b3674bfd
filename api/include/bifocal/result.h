#pragma once

#include <utility>
#include <variant>

#include "bifocal/error.h"

namespace bifocal {

// What one item came to: a value, or why there is none. One item's Error never fails its
// neighbours.
template <typename T>
class Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  // Throws the Error where there is no value.
  const T& value() const& {
    if (!ok()) throw error();
    return *std::get_if<0>(&state_);
  }
  T value() && {  // by value: a reference into a temporary Result would dangle
    if (!ok()) throw error();
    return std::move(*std::get_if<0>(&state_));
  }
  const Error& error() const { return std::get<1>(state_); }  // only where !ok()

 private:
  std::variant<T, Error> state_;
};

}  // namespace bifocal
