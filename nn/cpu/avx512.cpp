#include "vector_avx512.h"
// The kernels on it:
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kAvx512 =
    table<VectorTiles<float>>("avx512", Precision::kFp32, cpu_has_avx512);

}  // namespace bifocal::nn::cpu
