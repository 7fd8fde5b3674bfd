#pragma once

#include "nn/cpu/kernels.h"

namespace bifocal::nn::cpu {

// The tables, one a source file that is compiled for its instruction set, and whether this machine
// has what they need. Nothing in those files runs before the question is answered.
#ifdef BIFOCAL_X86_KERNELS
extern const Kernels kAvx512, kAvx512Bf16, kAvx512Int8, kAmx, kAvx2;
bool cpu_has_avx512();
bool cpu_has_avx512_bf16();
bool cpu_has_avx512_vnni();
bool cpu_has_amx();
bool cpu_has_avx2();
#elif defined(BIFOCAL_NEON_KERNELS)
extern const Kernels kNeon, kNeonBf16;
#endif
extern const Kernels kPortable, kPortableBf16, kPortableInt8;
bool any_cpu();

}  // namespace bifocal::nn::cpu
