#include "nn/kernel_choice.h"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "nn/linear_weights.h"
#include "nn/packed_weights.h"
#include "timing_file.h"

namespace bifocal::nn {
namespace {

constexpr std::int64_t kMiniLmHidden = 384;
constexpr std::int64_t kMiniLmIntermediate = 1536;

constexpr double kClearly = 1.2;  // what a later candidate must win by
constexpr int kRounds = 20;       // made once a CPU, so there may be many

struct Choice {
  const cpu::Kernels* kernels = nullptr;
  double seconds = 0;
};

// In the order of preference; null: LibTorch's operators.
std::vector<const cpu::Kernels*> candidates(Precision precision) {
  std::vector<const cpu::Kernels*> all;
  for (const cpu::Kernels* kernels : cpu::all_kernels(precision))
    if (kernels->runs_here() && !kernels->emulated) all.push_back(kernels);
  all.push_back(nullptr);
  return all;
}

std::string name_of(const cpu::Kernels* kernels) {
  return kernels == nullptr ? std::string() : std::string(kernels->name);
}

// LibTorch's operators on one thread while it lives, as they are when serving.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// The candidates take turns, since others may use the core; of each, the best round of one short
// and one long text's product counts.
Choice measure(Precision precision, std::int64_t depth, std::int64_t columns) {
  const c10::InferenceMode inference;
  const OneThread one_thread;
  const PackedWeights::Aside of_no_model;
  const LinearWeights linear(at::full({columns, depth}, 0.01), at::full({columns}, 0.1));
  const std::array<at::Tensor, 2> texts = {at::full({12, depth}, 0.5), at::full({48, depth}, 0.5)};
  struct Candidate {
    const cpu::Kernels* kernels;
    LinearWeights linear;
    std::array<double, 2> best{1e9, 1e9};
  };
  std::vector<Candidate> timed;
  for (const cpu::Kernels* kernels : candidates(precision))
    timed.push_back({kernels, linear.compiled(precision, kernels)});
  for (int round = 0; round < kRounds; ++round) {
    for (Candidate& candidate : timed) {
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const auto began = std::chrono::steady_clock::now();
        candidate.linear.forward(texts[i]);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        candidate.best[i] = std::min(candidate.best[i], took.count());
      }
    }
  }
  Choice best;
  for (const Candidate& candidate : timed) {
    const double seconds = candidate.best[0] + candidate.best[1];
    if (best.seconds == 0 || seconds * kClearly < best.seconds) best = {candidate.kernels, seconds};
  }
  return best;
}

// The CPU, and all that it can run of what this build has.
std::string describe_what_is_timed() {
  std::string timed = "CPU";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    timed = line.substr(std::min(line.size(), line.find(':') + 2));
    break;
  }
  timed += ", bifocal " BIFOCAL_BUILD;
  for (const Precision precision : kPrecisions)
    for (const cpu::Kernels* kernels : candidates(precision))
      timed += ", " + std::string(kernels == nullptr ? "torch" : kernels->name);
  return timed;
}

const std::string& what_is_timed() {
  static const std::string timed = describe_what_is_timed();
  return timed;
}

// What was timed here or, before, on this CPU. The mutex guards choices and file.
class Choices {
 public:
  Choice of(Precision precision, std::int64_t depth, std::int64_t columns) {
    const std::lock_guard lock(mutex_);
    const std::string product = std::string(nn::name_of(precision)) + " " + std::to_string(depth) +
                                " to " + std::to_string(columns);
    if (const auto known = choices_.find(product); known != choices_.end()) return known->second;
    TimingFile file(what_is_timed());
    std::optional<Choice> choice = remembered(file, product, precision);
    if (!choice) {
      choice = measure(precision, depth, columns);
      file.add(product, {name_of(choice->kernels), choice->seconds});
    }
    choices_.emplace(product, *choice);
    return *choice;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    choices_.clear();
    TimingFile(what_is_timed()).remove();
  }

 private:
  static std::optional<Choice> remembered(const TimingFile& file, const std::string& product,
                                          Precision precision) {
    const std::optional<Timing> timing = file.find(product);
    if (!timing) return std::nullopt;
    for (const cpu::Kernels* kernels : candidates(precision))
      if (name_of(kernels) == timing->kernels) return Choice{kernels, timing->seconds};
    return std::nullopt;
  }

  std::mutex mutex_;
  std::map<std::string, Choice> choices_;
};

Choices& choices() {
  static Choices all;
  return all;
}

// BIFOCAL_KERNELS, or nothing.
std::string_view forced() {
  const char* set = std::getenv("BIFOCAL_KERNELS");
  return set == nullptr ? std::string_view() : std::string_view(set);
}

const cpu::Kernels* named(std::string_view name, Precision precision) {
  if (name == "torch") return nullptr;
  std::vector<std::string_view> names;
  const cpu::Kernels* known = nullptr;  // of this precision, or else of another
  for (const Precision each : kPrecisions) {
    for (const cpu::Kernels* kernels : cpu::all_kernels(each)) {
      names.push_back(kernels->name);
      if (kernels->name == name && (known == nullptr || each == precision)) known = kernels;
    }
  }
  if (known != nullptr && !known->runs_here())
    throw Error(ErrorCode::kUnsupported,
                "BIFOCAL_KERNELS is \"" + std::string(name) + "\", which this CPU cannot run");
  if (known != nullptr) return known->precision == precision ? known : nullptr;
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string listed = "torch";
  for (const std::string_view each : names) listed += ", " + std::string(each);
  throw Error(ErrorCode::kInvalidArgument,
              "BIFOCAL_KERNELS is \"" + std::string(name) + "\"; it must be one of " + listed);
}

}  // namespace

const cpu::Kernels* choose_kernels(Precision precision, std::int64_t hidden_size,
                                   std::int64_t intermediate_size) {
  if (const std::string_view name = forced(); !name.empty()) return named(name, precision);
  return choices().of(precision, hidden_size, intermediate_size).kernels;
}

const cpu::Kernels* choose_kernels(Precision precision) {
  return choose_kernels(precision, kMiniLmHidden, kMiniLmIntermediate);
}

Precision fastest_precision() {
  const auto seconds = [](Precision precision) {
    return choices().of(precision, kMiniLmHidden, kMiniLmIntermediate).seconds;
  };
  const double fp32 = seconds(Precision::kFp32), bf16 = seconds(Precision::kBf16);
  return bf16 * kClearly < fp32 ? Precision::kBf16 : Precision::kFp32;
}

void forget_choices() { choices().forget(); }

}  // namespace bifocal::nn
