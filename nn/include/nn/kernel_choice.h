#pragma once

#include <cstdint>

#include "nn/cpu/kernels.h"
#include "nn/precision.h"

namespace bifocal::nn {

// The kernels that serve an encoder with MLPs of [intermediate_size, hidden_size], or null where
// LibTorch's operators do. The one place that decides:
//
// - The environment's BIFOCAL_KERNELS names them: "avx512", "avx2", "portable", "torch". Where the
//   named ones have no products of this precision, LibTorch serves. Throws Error: kInvalidArgument
//   for another name, kUnsupported where this CPU lacks the instructions.
// - Otherwise a timing of some milliseconds on products of these sizes, made once a process: the
//   first of cpu::all_kernels that runs here, unless another is clearly faster. An instruction can
//   be there and slow.
//
// Thread-safe.
const cpu::Kernels* choose_kernels(Precision precision, std::int64_t hidden_size,
                                   std::int64_t intermediate_size);
// The same for what is no encoder, by the sizes of MiniLM.
const cpu::Kernels* choose_kernels(Precision precision);

}  // namespace bifocal::nn
