#pragma once
// The table of the kernels above, for products of one element.

#include "attention.h"
#include "depthwise.h"
#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

template <typename Element>
static constexpr Kernels table(std::string_view name, Precision precision, bool (*runs_here)()) {
  Kernels kernels{};
  kernels.name = name;
  kernels.precision = precision;
  kernels.runs_here = runs_here;
  kernels.packed_bytes = packed_bytes<Element>;
  kernels.panel_edge = panel_edge;
  kernels.pack = pack<Element>;
  kernels.gemm = gemm<Element>;
  kernels.narrow = narrow<Element>;
  kernels.attention_scratch = attention_scratch;
  kernels.attention = attention<Element>;
  kernels.layer_norm = layer_norm<Element>;
  kernels.sum_of_three = sum_of_three;
  if (precision == Precision::kFp32) {
    kernels.depthwise_scratch = depthwise_scratch;
    kernels.depthwise = depthwise;
  }
  kernels.column_means = column_means;
  kernels.sigmoid = sigmoids;
  kernels.scale_columns = scale_columns;
  return kernels;
}

}  // namespace bifocal::nn::cpu
