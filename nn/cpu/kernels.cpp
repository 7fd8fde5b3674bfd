#include "nn/cpu/kernels.h"

#include <array>

#include "tables.h"

#ifdef BIFOCAL_X86_KERNELS
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace bifocal::nn::cpu {
namespace {

#ifdef BIFOCAL_X86_KERNELS
// Of AMX the compilers' own question knows too little: Intel SDM, volume 2, CPUID, leaf 7.
bool has_tiles_of_bf16() {
  constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kBf16) != 0 &&
         (edx & kTiles) != 0;
}

// Linux gives a process the tile registers when it asks (Documentation/arch/x86/xstate.rst), once
// for all its threads: ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA.
bool may_use_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

}  // namespace

// GCC's and Clang's __builtin_cpu_supports also asks whether the operating system saves the
// registers.
#ifdef BIFOCAL_X86_KERNELS
bool cpu_has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_has_avx512_bf16() { return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16"); }
bool cpu_has_avx512_vnni() { return cpu_has_avx512() && __builtin_cpu_supports("avx512vnni"); }
bool cpu_has_amx() {
  static const bool has = cpu_has_avx512_bf16() && has_tiles_of_bf16() && may_use_tiles();
  return has;
}
bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
bool any_cpu() { return true; }

std::span<const Kernels* const> all_kernels(Precision precision) {
#ifdef BIFOCAL_X86_KERNELS
  static constexpr std::array kBf16 = {&kAmx, &kAvx512Bf16, &kPortableBf16};
  static constexpr std::array kInt8 = {&kAvx512Int8, &kPortableInt8};
  static constexpr std::array kFp32 = {&kAvx512, &kAvx2, &kPortable};
#elif defined(BIFOCAL_NEON_KERNELS)
  static constexpr std::array kBf16 = {&kNeonBf16, &kPortableBf16};
  static constexpr std::array kInt8 = {&kPortableInt8};
  static constexpr std::array kFp32 = {&kNeon, &kPortable};
#else
  static constexpr std::array kBf16 = {&kPortableBf16};
  static constexpr std::array kInt8 = {&kPortableInt8};
  static constexpr std::array kFp32 = {&kPortable};
#endif
  switch (precision) {
    case Precision::kBf16:
      return kBf16;
    case Precision::kInt8:
      return kInt8;
    case Precision::kFp32:
      break;
  }
  return kFp32;
}

}  // namespace bifocal::nn::cpu
