#include "vector_neon.h"
// The kernels on it:
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kNeon = table<VectorTiles<float>>("neon", Precision::kFp32, any_cpu);
constinit const Kernels kNeonBf16 = table<VectorTiles<Bf16>>("neon", Precision::kBf16, any_cpu);

}  // namespace bifocal::nn::cpu
