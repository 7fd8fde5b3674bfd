#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bifocal/values.h"

namespace bifocal {

// What the model computes in.
enum class Precision {
  kFp32,
  kBf16,  // matrix products of bfloat16 numbers, summed in float32: fast on CPUs made for it
  kAuto,  // kBf16 where a short timing finds it clearly faster
  // The linear layers of BERT and of the fusion layer multiply 8-bit integers, the rest is float32:
  // fast on CPUs with AVX512-VNNI, and kFp32 on others. Vectors differ from those of float32 by
  // more than with kBf16.
  kInt8,
};

struct LoadOptions {
  Precision precision = Precision::kFp32;
  // The kernels that serve are those that a short timing finds fastest. What it found is kept for
  // this CPU in $BIFOCAL_CACHE_DIR, else $XDG_CACHE_HOME/bifocal, else ~/.cache/bifocal, and taken
  // by the next process; `tune` times anew.
  bool tune = false;
  // Worker threads shared by all calls on the model; 0: one for each core this process may use.
  int threads = 0;
  // Cores that share the work on one item, for the latency of a single call: fewer workers then run
  // at a time. Vectors have the same bits however many there are.
  int threads_per_worker = 1;
  // Images beyond either limit are refused from their header, before a pixel is allocated.
  std::int64_t max_image_pixels = 50'000'000;
  std::size_t max_image_bytes = 20'000'000;
  // Decode JPEGs at a half, a quarter or an eighth of their sides where that leaves twice the sides
  // that the model takes: large photographs take a fraction of the time, and vectors differ a
  // little.
  bool scaled_decode = false;
  // Compare every file with the SHA-256 in bifocal.json; packed weights with their own.
  bool verify_checksums = true;
  // Take weights that an earlier load has packed from packed/ in the bundle's directory, and write
  // them there where that is allowed: the next load takes less time, and processes share the
  // memory. They are packed anew where the bundle, the program or the CPU's kernels are others.
  bool packed_weights = true;
};

struct EmbedOptions {
  Side side = Side::kFused;
  LongText long_text = LongText::kTruncate;
  std::int64_t max_tokens = 0;  // of a text or window, special ones included; 0: as the model takes
};

struct ClassifyOptions {
  std::string label_set;  // empty: the bundle's only one; an error if it has several
  std::size_t top_k = 5;  // 0: all
  Side side = Side::kFused;
};

}  // namespace bifocal
