#include "vector_portable.h"
// The kernels on it:
#include "gemm_int8.h"
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kPortable =
    table<VectorTiles<float>>("portable", Precision::kFp32, any_cpu);
constinit const Kernels kPortableBf16 =
    table<VectorTiles<Bf16>>("portable", Precision::kBf16, any_cpu);
constinit const Kernels kPortableInt8 = int8_table("portable", any_cpu);

}  // namespace bifocal::nn::cpu
