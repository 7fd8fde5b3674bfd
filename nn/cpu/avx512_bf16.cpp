#define BIFOCAL_ROUGH_FUNCTIONS
#include "vector_avx512.h"
// The kernels on it:
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kAvx512Bf16 =
    table<VectorTiles<Bf16>>("avx512", Precision::kBf16, cpu_has_avx512_bf16);

}  // namespace bifocal::nn::cpu
