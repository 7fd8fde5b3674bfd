#include "nn/cpu/kernels.h"

#include <array>

#include "tables.h"

namespace bifocal::nn::cpu {

// GCC's and Clang's __builtin_cpu_supports also asks whether the operating system saves the
// registers.
#ifdef BIFOCAL_X86_KERNELS
bool cpu_has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_has_avx512_bf16() { return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16"); }
bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
bool any_cpu() { return true; }

std::span<const Kernels* const> all_kernels(Precision precision) {
#ifdef BIFOCAL_X86_KERNELS
  static constexpr std::array kBf16 = {&kAvx512Bf16};
  static constexpr std::array kFp32 = {&kAvx512, &kAvx2, &kPortable};
  if (precision == Precision::kBf16) return kBf16;
#else
  static constexpr std::array kFp32 = {&kPortable};
  if (precision == Precision::kBf16) return {};
#endif
  return kFp32;
}

}  // namespace bifocal::nn::cpu
