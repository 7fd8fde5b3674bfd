#pragma once
// The table of the kernels above, for products of one element.

#include "attention.h"
#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

template <typename Element>
static constexpr Kernels table(std::string_view name, Precision precision, bool (*runs_here)()) {
  return {
      name,          precision,       runs_here,         packed_bytes<Element>, pack<Element>,
      gemm<Element>, narrow<Element>, attention_scratch, attention<Element>,    layer_norm<Element>,
      sum_of_three};
}

}  // namespace bifocal::nn::cpu
