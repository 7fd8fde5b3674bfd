#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "nn/encoder_layer_config.h"
#include "nn/precision.h"

// Hand-written kernels of one CPU core, one table of functions an instruction set. Every function
// is thread-safe, allocates nothing, needs no alignment, reads and writes only the elements that
// its arguments name, passes NaN and infinity on, and gives a row the same bits whatever rows stand
// beside it.
namespace bifocal::nn::cpu {

// What matrix products take beside float: bfloat16, by its bits.
using Bf16 = std::uint16_t;

// C = activation(A B + bias) + residual. B is what Kernels::pack made of a linear layer's weight.
struct Gemm {
  std::int64_t rows = 0;          // of A and C; 0 is allowed
  const void* a = nullptr;        // [rows, depth] of the table's element; rows may overlap
  std::ptrdiff_t a_stride = 0;    // elements from row to row, here and below
  const void* weights = nullptr;  // packed [depth, columns]
  bool weights_near = false;      // in a cache, from a product just before; else they are sent for
  std::int64_t depth = 0;
  std::int64_t columns = 0;
  // Of C's columns only those of the panels that hold first_column .. columns are computed, so that
  // some columns before first_column may be written too.
  std::int64_t first_column = 0;
  std::int64_t last_column = 0;  // 0: columns
  const float* bias = nullptr;   // [columns] or null
  bool activated = false;
  Activation activation = Activation::kGeluErf;
  const float* residual = nullptr;     // [rows, columns] or null; may be C
  std::ptrdiff_t residual_stride = 0;  // 0 adds one row to all
  // Where C goes, one of them or both: [rows, columns], and the same in the table's element.
  float* c = nullptr;
  void* narrow_c = nullptr;
  std::ptrdiff_t c_stride = 0;
};

// Multi-head self-attention of one sequence (Vaswani et al. 2017): products of the table's element,
// scores, softmax and sums in float32.
struct Attention {
  std::int64_t positions = 0;  // keys and values
  std::int64_t queries = 0;    // the first positions, whose outputs are wanted
  std::int64_t heads = 0;
  std::int64_t head_size = 0;
  const float* query = nullptr;  // [queries, heads * head_size]
  std::ptrdiff_t query_stride = 0;
  const float* key = nullptr;    // [positions, heads * head_size]
  const float* value = nullptr;  // likewise
  std::ptrdiff_t key_value_stride = 0;
  void* out = nullptr;  // [queries, heads * head_size] of the table's element
  std::ptrdiff_t out_stride = 0;
  float* scratch = nullptr;  // Kernels::attention_scratch(positions, head_size) floats
};

// Layer norm of each row (Ba et al. 2016), in two passes: mean, then variance about it.
struct LayerNorm {
  std::int64_t rows = 0;
  std::int64_t size = 0;
  const float* x = nullptr;  // [rows, size]
  std::ptrdiff_t x_stride = 0;
  const float* weight = nullptr;  // [size]
  const float* bias = nullptr;    // [size]
  double eps = 0;
  float* out = nullptr;  // [rows, size], may be x; or null
  std::ptrdiff_t out_stride = 0;
  void* narrow_out = nullptr;  // the same in the table's element; or null
  std::ptrdiff_t narrow_stride = 0;
};

// out = activation(depthwise(activation(x A + expand_bias)) + bias), of one image: an MBConv's
// expansion and depthwise convolution. Maps are row by row, a pixel's channels side by side.
struct Depthwise {
  const void* x = nullptr;  // [height * width, depth] of the table's element
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t depth = 0;
  // Packed [depth, channels]; null: x is the map that is convolved, and depth is `channels`.
  const void* expand_weights = nullptr;
  const float* expand_bias = nullptr;  // [channels]
  std::int64_t channels = 0;
  // As a Gemm's columns: only those of the panels that hold first_channel .. channels.
  std::int64_t first_channel = 0;
  std::int64_t last_channel = 0;  // 0: channels
  std::int64_t kernel = 1;
  std::int64_t stride = 1;         // at most `kernel`
  std::int64_t pad_top = 0;        // zeros before the first row of the expanded map, and
  std::int64_t pad_left = 0;       // before its first column; behind, as many as are needed
  const float* weights = nullptr;  // [kernel * kernel, channels]
  const float* bias = nullptr;     // [channels]
  bool activated = false;
  Activation activation = Activation::kSilu;
  std::int64_t out_height = 0;
  std::int64_t out_width = 0;
  void* out = nullptr;  // [out_height * out_width, channels] of the table's element
  std::ptrdiff_t out_stride = 0;
  float* means = nullptr;    // [channels], of out over its pixels; or null
  float* scratch = nullptr;  // Kernels::depthwise_scratch(*this) floats
};

struct Kernels {
  std::string_view name;  // "amx", "avx512", "avx2", "neon", "portable"
  // The table's element: Bf16, or float. With kInt8 it is float too, and gemm makes integers of it.
  Precision precision;
  bool (*runs_here)();  // whether this CPU and its operating system have the instructions
  // Whether its element is multiplied without an instruction for it: exact, and so slow that only
  // who names the table wants it.
  bool emulated;

  std::size_t (*packed_bytes)(std::int64_t depth, std::int64_t columns);  // a multiple of 64
  // The first column of the panel that `column` is in.
  std::int64_t (*panel_edge)(std::int64_t columns, std::int64_t column);
  // weight [columns, depth], as torch's linear has it -> packed. With kInt8 a column that holds
  // what is not finite gives NaN.
  void (*pack)(const float* weight, std::int64_t depth, std::int64_t columns, void* packed);
  // With kInt8 a row of A that holds what is not finite gives NaN, and one of numbers under 4e-37
  // counts as zeros.
  void (*gemm)(const Gemm&);
  // x [rows, size] rounded to the table's element
  void (*narrow)(const float* x, std::ptrdiff_t x_stride, std::int64_t rows, std::int64_t size,
                 void* out, std::ptrdiff_t out_stride);
  std::size_t (*attention_scratch)(std::int64_t positions, std::int64_t head_size);
  void (*attention)(const Attention&);
  void (*layer_norm)(const LayerNorm&);
  // Null with kInt8, in which nothing is convolved.
  std::size_t (*depthwise_scratch)(const Depthwise&);
  void (*depthwise)(const Depthwise&);
  // means [size] of x [rows, size] over its rows
  void (*column_means)(const float* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                       float* means);
  // The same of x in the table's element.
  void (*operand_means)(const void* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                        float* means);
  void (*sigmoid)(float* x, std::int64_t size);  // in place
  // x [rows, size] of the table's element, in place, times factors [size]
  void (*scale_columns)(void* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                        const float* factors);
  // out [size] = a + b + c
  void (*sum_of_three)(const float* a, const float* b, const float* c, std::int64_t size,
                       float* out);
};

// Every table that was compiled in, of one precision, the likeliest to be fastest first.
std::span<const Kernels* const> all_kernels(Precision precision);

constexpr std::size_t element_bytes(Precision precision) noexcept {
  return precision == Precision::kBf16 ? sizeof(Bf16) : sizeof(float);
}

}  // namespace bifocal::nn::cpu
