#pragma once

namespace bifocal::nn {

// What compile() may compute in.
enum class Precision {
  kFp32,
  // The matrix products of the transformers take bfloat16 numbers and sum in float32; convolutions
  // and everything else stay float32. Fast where the CPU has AVX512-BF16 or AMX, slow elsewhere.
  kBf16,
};

// The faster of the two on this machine, by a timing of some milliseconds that is made once.
// bfloat16 must win clearly, since it costs digits. Thread-safe.
Precision fastest_precision();

}  // namespace bifocal::nn
