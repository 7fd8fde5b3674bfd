#pragma once
// The table of the kernels above, for products by such tiles.

#include "attention.h"
#include "depthwise.h"
#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

template <typename Tiles>
static constexpr Kernels table(std::string_view name, Precision precision, bool (*runs_here)()) {
  using Element = typename Tiles::Element;
  Kernels kernels{};
  kernels.name = name;
  kernels.precision = precision;
  kernels.runs_here = runs_here;
  kernels.emulated = Product<Element>::kEmulated;
  kernels.packed_bytes = packed_bytes<Tiles>;
  kernels.panel_edge = panel_edge<Tiles>;
  kernels.pack = pack<Tiles>;
  kernels.gemm = gemm<Tiles>;
  kernels.narrow = narrow<Element>;
  kernels.attention_scratch = attention_scratch<Tiles>;
  kernels.attention = attention<Tiles>;
  kernels.layer_norm = layer_norm<Element>;
  kernels.sum_of_three = sum_of_three;
  kernels.depthwise_scratch = depthwise_scratch<Tiles>;
  kernels.depthwise = depthwise<Tiles>;
  kernels.column_means = column_means;
  kernels.operand_means = operand_means<Element>;
  kernels.sigmoid = sigmoids;
  kernels.scale_columns = scale_columns<Element>;
  return kernels;
}

}  // namespace bifocal::nn::cpu
