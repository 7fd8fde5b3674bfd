#pragma once

#include <cstdint>

#include "nn/cpu/kernels.h"
#include "nn/precision.h"

namespace bifocal::nn {

// The kernels that serve an encoder with MLPs of [intermediate_size, hidden_size], or null where
// LibTorch's operators do. The one place that decides:
//
// - The environment's BIFOCAL_KERNELS names them: "amx", "avx512", "avx2"; "neon"; "portable",
//   "torch". Where the named ones have no products of this precision, LibTorch serves. Throws
//   Error: kInvalidArgument for another name, kUnsupported where this CPU lacks the instructions.
// - Otherwise a timing of some milliseconds on products of these sizes: the first of
//   cpu::all_kernels that runs here and emulates nothing, unless another is clearly faster. An
//   instruction can be there and slow. What was found is kept on disk for this CPU and build, so
//   that every process chooses the same kernels and gives a vector the same bits: kernels-*.json in
//   $BIFOCAL_CACHE_DIR, else $XDG_CACHE_HOME/bifocal, else ~/.cache/bifocal.
//
// Thread-safe.
const cpu::Kernels* choose_kernels(Precision precision, std::int64_t hidden_size,
                                   std::int64_t intermediate_size);
// The same for what is no encoder, by the sizes of MiniLM.
const cpu::Kernels* choose_kernels(Precision precision);

// Forgets what was timed, here and on disk: the next choice is timed anew. Models that are loaded
// keep theirs. Thread-safe.
void forget_choices();

}  // namespace bifocal::nn
