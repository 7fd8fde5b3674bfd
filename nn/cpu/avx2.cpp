#include "vector_avx2.h"
// The kernels on it:
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kAvx2 = table<VectorTiles<float>>("avx2", Precision::kFp32, cpu_has_avx2);

}  // namespace bifocal::nn::cpu
