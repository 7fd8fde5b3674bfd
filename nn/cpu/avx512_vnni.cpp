#include "vector_avx512.h"
// The kernels on it:
#include "gemm_int8.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kAvx512Int8 = int8_table("avx512", cpu_has_avx512_vnni);

}  // namespace bifocal::nn::cpu
