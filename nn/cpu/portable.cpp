#include "vector_portable.h"
// The kernels on it:
#include "table.h"
#include "tables.h"

namespace bifocal::nn::cpu {

constinit const Kernels kPortable = table<float>("portable", Precision::kFp32, any_cpu);

}  // namespace bifocal::nn::cpu
