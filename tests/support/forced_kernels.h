#pragma once
// Every kind of kernels that this machine can run, one after the other.

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "nn/cpu/kernels.h"

namespace bifocal::testing {

// BIFOCAL_KERNELS while it lives, then as it was.
class ForcedKernels {
 public:
  explicit ForcedKernels(const std::string& name) {
    if (const char* set = std::getenv(kVariable); set != nullptr) before_ = set;
    setenv(kVariable, name.c_str(), 1);
  }
  ~ForcedKernels() {
    if (before_)
      setenv(kVariable, before_->c_str(), 1);
    else
      unsetenv(kVariable);
  }
  ForcedKernels(const ForcedKernels&) = delete;
  ForcedKernels& operator=(const ForcedKernels&) = delete;

 private:
  static constexpr const char* kVariable = "BIFOCAL_KERNELS";
  std::optional<std::string> before_;
};

// Names for BIFOCAL_KERNELS of kernels of ours that run here in this precision.
inline std::vector<std::string> own_kernels(nn::Precision precision) {
  std::vector<std::string> names;
  for (const nn::cpu::Kernels* kernels : nn::cpu::all_kernels(precision))
    if (kernels->runs_here()) names.emplace_back(kernels->name);
  return names;
}

}  // namespace bifocal::testing
