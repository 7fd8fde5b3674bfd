#define BIFOCAL_ROUGH_FUNCTIONS
#include "vector_avx512.h"
// The kernels on it:
#include "table.h"
#include "tables.h"
#include "tiles_amx.h"

namespace bifocal::nn::cpu {

constinit const Kernels kAmx = table<AmxTiles>("amx", Precision::kBf16, cpu_has_amx);

}  // namespace bifocal::nn::cpu
