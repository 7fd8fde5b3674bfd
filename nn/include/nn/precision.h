#pragma once

#include <array>
#include <string_view>

namespace bifocal::nn {

// What compile() may compute in.
enum class Precision {
  kFp32,
  // Matrix products, those of convolutions over all channels too, take bfloat16 numbers and sum in
  // float32; everything else stays float32. Fast where the CPU has AVX512-BF16 or AMX.
  kBf16,
  // The linear layers of the transformers multiply 8-bit integers and sum in 32 bits: weights in
  // steps of a 127th of their column's largest, what they meet in those of its row's. Everything
  // else stays float32, attention's own products among it. Fast where the CPU has AVX512-VNNI;
  // where LibTorch's operators serve, all is float32.
  kInt8,
};

inline constexpr std::array kPrecisions = {Precision::kFp32, Precision::kBf16, Precision::kInt8};

// As options, files and messages have it.
constexpr std::string_view name_of(Precision precision) noexcept {
  switch (precision) {
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
    case Precision::kFp32:
      break;
  }
  return "fp32";
}

// What all but the transformers' linear layers is compiled in.
constexpr Precision unquantised(Precision precision) noexcept {
  return precision == Precision::kInt8 ? Precision::kFp32 : precision;
}

// The faster of float32 and bfloat16 on this machine, by a timing of some milliseconds that is made
// once. bfloat16 must win clearly, since it costs digits; integers cost more, and are taken by name
// alone. Thread-safe.
Precision fastest_precision();

}  // namespace bifocal::nn
