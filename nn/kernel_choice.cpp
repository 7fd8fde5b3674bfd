#include "nn/kernel_choice.h"

#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "bifocal/error.h"
#include "nn/linear_weights.h"

namespace bifocal::nn {
namespace {

constexpr std::int64_t kMiniLmHidden = 384;
constexpr std::int64_t kMiniLmIntermediate = 1536;

struct Choice {
  const cpu::Kernels* kernels = nullptr;
  double seconds = 0;
};

// Seconds of one short and one long text's product, each the best of several: others may use the
// core.
double seconds_of(const LinearWeights& linear, std::int64_t depth) {
  double total = 0;
  for (const std::int64_t rows : {std::int64_t{12}, std::int64_t{48}}) {
    const at::Tensor x = at::full({rows, depth}, 0.5);
    double best = 1e9;
    for (int round = 0; round < 6; ++round) {
      const auto began = std::chrono::steady_clock::now();
      linear.forward(x);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
      best = std::min(best, took.count());
    }
    total += best;
  }
  return total;
}

Choice measure(Precision precision, std::int64_t depth, std::int64_t columns) {
  constexpr double kClearly = 1.2;
  const c10::InferenceMode inference;
  const LinearWeights linear(at::full({columns, depth}, 0.01), at::full({columns}, 0.1));
  Choice best;
  const auto consider = [&](const cpu::Kernels* kernels) {
    const double seconds = seconds_of(linear.compiled(precision, kernels), depth);
    if (best.seconds == 0 || seconds * kClearly < best.seconds) best = {kernels, seconds};
  };
  for (const cpu::Kernels* kernels : cpu::all_kernels(precision))
    if (kernels->runs_here()) consider(kernels);
  consider(nullptr);
  return best;
}

const Choice& measured(Precision precision, std::int64_t depth, std::int64_t columns) {
  static std::mutex mutex;
  static std::map<std::tuple<Precision, std::int64_t, std::int64_t>, Choice> choices;
  const std::lock_guard lock(mutex);
  const auto [entry, fresh] = choices.try_emplace({precision, depth, columns});
  if (fresh) entry->second = measure(precision, depth, columns);
  return entry->second;
}

// BIFOCAL_KERNELS, or nothing.
std::string_view forced() {
  const char* set = std::getenv("BIFOCAL_KERNELS");
  return set == nullptr ? std::string_view() : std::string_view(set);
}

const cpu::Kernels* named(std::string_view name, Precision precision) {
  if (name == "torch") return nullptr;
  bool known = false;
  std::string names = "torch";
  for (const Precision each : {precision, Precision::kFp32}) {
    for (const cpu::Kernels* kernels : cpu::all_kernels(each)) {
      if (each == Precision::kFp32) names += ", " + std::string(kernels->name);
      if (kernels->name != name) continue;
      known = true;
      if (!kernels->runs_here())
        throw Error(ErrorCode::kUnsupported,
                    "BIFOCAL_KERNELS is \"" + std::string(name) + "\", which this CPU cannot run");
      if (each == precision) return kernels;
    }
  }
  if (known) return nullptr;
  throw Error(ErrorCode::kInvalidArgument,
              "BIFOCAL_KERNELS is \"" + std::string(name) + "\"; it must be one of " + names);
}

}  // namespace

const cpu::Kernels* choose_kernels(Precision precision, std::int64_t hidden_size,
                                   std::int64_t intermediate_size) {
  if (const std::string_view name = forced(); !name.empty()) return named(name, precision);
  return measured(precision, hidden_size, intermediate_size).kernels;
}

const cpu::Kernels* choose_kernels(Precision precision) {
  return choose_kernels(precision, kMiniLmHidden, kMiniLmIntermediate);
}

Precision fastest_precision() {
  constexpr double kClearly = 1.2;
  const double fp32 = measured(Precision::kFp32, kMiniLmHidden, kMiniLmIntermediate).seconds;
  const double bf16 = measured(Precision::kBf16, kMiniLmHidden, kMiniLmIntermediate).seconds;
  return bf16 * kClearly < fp32 ? Precision::kBf16 : Precision::kFp32;
}

}  // namespace bifocal::nn
