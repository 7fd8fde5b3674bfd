#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "guarded.h"
#include "nn/cpu/kernels.h"
#include "operand.h"

namespace bifocal::nn::cpu {

// One product with its epilogue in guarded memory, and its sums in double.
class GemmCase {
 public:
  // a [rows, depth], weight [columns, depth]
  GemmCase(const Kernels& kernels, std::int64_t rows, std::int64_t depth, std::int64_t columns,
           const std::vector<float>& a, const std::vector<float>& weight)
      : depth_(depth),
        a_(kernels, a),
        packed_(kernels.packed_bytes(depth, columns)),
        meant_a_(meant(kernels, a_.values, depth)),
        meant_weight_(meant(kernels, weight, depth)) {
    testing::Guarded<float> source(weight);
    kernels.pack(source.data(), depth, columns, packed_.data());
    gemm.rows = rows;
    gemm.a = a_.data();
    gemm.a_stride = depth;
    gemm.weights = packed_.data();
    gemm.depth = depth;
    gemm.columns = columns;
  }

  // The numbers and how large what they are sums of is.
  struct Sum {
    double value = 0;
    double size = 0;
  };
  Sum product(std::int64_t row, std::int64_t column) const {
    Sum sum;
    for (std::int64_t k = 0; k < depth_; ++k) {
      const double term = meant_a_[static_cast<std::size_t>(row * depth_ + k)] *
                          meant_weight_[static_cast<std::size_t>(column * depth_ + k)];
      sum.value += term;
      sum.size += std::abs(term);
    }
    return sum;
  }

  Gemm gemm;

 private:
  // What the table's products take for these rows.
  static std::vector<double> meant(const Kernels& kernels, const std::vector<float>& values,
                                   std::int64_t depth) {
    std::vector<double> all(values.begin(), values.end());
    if (kernels.precision == Precision::kBf16)
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = widened(nearest_bf16(values[i]));
    if (kernels.precision == Precision::kInt8) {
      all.clear();
      const auto size = static_cast<std::size_t>(depth);
      for (std::size_t i = 0; i < values.size(); i += size) {
        const std::vector<double> row = quantised(std::span(values).subspan(i, size));
        all.insert(all.end(), row.begin(), row.end());
      }
    }
    return all;
  }

  std::int64_t depth_;
  Operand a_;
  testing::Guarded<std::byte> packed_;
  std::vector<double> meant_a_, meant_weight_;
};

}  // namespace bifocal::nn::cpu
