#include "nn/encoder_plan.h"
#include "nn/cpu/memory.h"

#include <algorithm>
#include <cstring>

#include "nn/cpu/steps.h"

namespace bifocal::nn {
namespace {

// Rows of a scratch matrix, of the table's element or of float.
struct Matrix {
  std::byte* data = nullptr;
  std::ptrdiff_t stride = 0;  // elements

  float* floats() const noexcept { return reinterpret_cast<float*>(data); }
};

}  // namespace

EncoderPlan::EncoderPlan(std::span<const EncoderLayerWeights> layers, const cpu::Kernels& kernels)
    : kernels_(&kernels), weights_(kernels, [&](WeightArena& arena) {
        layers_.clear();
        for (const EncoderLayerWeights& layer : layers) {
          Layer packed;
          packed.attention_norm = arena.add(layer.attention_norm);
          packed.qkv = arena.add(layer.attention.qkv);
          packed.out = arena.add(layer.attention.out);
          packed.mlp_norm = arena.add(layer.mlp_norm);
          packed.fc1 = arena.add(layer.mlp.fc1);
          packed.fc2 = arena.add(layer.mlp.fc2);
          packed.heads = layer.attention.num_attention_heads;
          packed.activation = layer.mlp.activation;
          packed.norm = layer.norm;
          layers_.push_back(packed);
        }
      }) {
  if (!layers_.empty()) hidden_size_ = layers_.front().attention_norm.size;
}

// One pass: what its steps share.
class EncoderPlan::Runner {
 public:
  Runner(const EncoderPlan& plan, std::span<const std::int64_t> offsets)
      : plan_(plan),
        kernels_(*plan.kernels_),
        offsets_(offsets),
        rows_(offsets.back()),
        sequences_(static_cast<std::int64_t>(offsets.size()) - 1),
        d_(plan.hidden_size_),
        scratch_(lay_out(nullptr)) {
    lay_out(&scratch_);
  }

  void forward(float* x, std::ptrdiff_t stride) {
    narrow_input(x, stride);
    for (const Layer& layer : plan_.layers_) whole_layer(layer, x, stride);
  }

  void forward_first(float* x, std::ptrdiff_t stride, float* first) {
    narrow_input(x, stride);
    const std::size_t last = plan_.layers_.size() - 1;
    for (std::size_t i = 0; i < last; ++i) whole_layer(plan_.layers_[i], x, stride);
    first_of_layer(plan_.layers_[last], x, stride, first);
  }

 private:
  // Takes the matrices from the scratch, or only counts: the bytes of both.
  std::size_t lay_out(cpu::Scratch* scratch) {
    std::size_t bytes = 0;
    const auto matrix = [&](Matrix& to, std::int64_t rows, std::int64_t columns,
                            std::size_t element) {
      to.stride = cpu::row_stride(columns, element);
      const std::size_t size = static_cast<std::size_t>(rows * to.stride) * element;
      bytes += cpu::Scratch::rounded(size);
      if (scratch != nullptr) to.data = static_cast<std::byte*>(scratch->take_bytes(size));
    };
    std::int64_t intermediate = 0;
    for (const Layer& layer : plan_.layers_)
      intermediate = std::max(intermediate, layer.fc1.columns);
    const std::size_t element = cpu::element_bytes(kernels_.precision);
    matrix(input_, rows_, d_, element);
    matrix(qkv_, rows_, 3 * d_, sizeof(float));
    matrix(context_, rows_, d_, element);
    matrix(hidden_, rows_, intermediate, element);
    matrix(first_input_, sequences_, d_, element);
    matrix(first_query_, sequences_, 3 * d_, sizeof(float));
    return bytes;
  }

  std::byte* row(const Matrix& matrix, std::int64_t row) const noexcept {
    return matrix.data + row * matrix.stride *
                             static_cast<std::ptrdiff_t>(cpu::element_bytes(kernels_.precision));
  }

  void narrow_input(const float* x, std::ptrdiff_t stride) {
    kernels_.narrow(x, stride, rows_, d_, input_.data, input_.stride);
  }

  // Between the layers input_ holds x in the table's element.
  void whole_layer(const Layer& layer, float* x, std::ptrdiff_t stride) {
    norm_before(layer.norm, layer.attention_norm, x, stride, rows_, input_);
    cpu::Gemm gemm = layer.qkv.gemm(rows_, input_.data, input_.stride);
    gemm.c = qkv_.floats();
    gemm.c_stride = qkv_.stride;
    cpu::run(kernels_, gemm);
    for (std::int64_t i = 0; i < sequences_; ++i) {
      const std::int64_t from = begin(i);
      attend(layer, i, begin(i + 1) - from, qkv_.floats() + from * qkv_.stride, qkv_.stride,
             row(context_, from));
    }
    after_attention(layer, x, stride, rows_, input_);
  }

  // Of each sequence's first row all, of the others only keys and values.
  void first_of_layer(const Layer& layer, float* x, std::ptrdiff_t stride, float* first) {
    norm_before(layer.norm, layer.attention_norm, x, stride, rows_, input_);
    cpu::Gemm keys = layer.qkv.gemm(rows_, input_.data, input_.stride);
    keys.first_column = d_;
    keys.c = qkv_.floats();
    keys.c_stride = qkv_.stride;
    cpu::run(kernels_, keys);
    const std::size_t element = cpu::element_bytes(kernels_.precision);
    for (std::int64_t i = 0; i < sequences_; ++i) {
      std::memcpy(row(first_input_, i), row(input_, begin(i)),
                  static_cast<std::size_t>(d_) * element);
      std::memcpy(first + i * d_, x + begin(i) * stride,
                  static_cast<std::size_t>(d_) * sizeof(float));
    }
    cpu::Gemm query = layer.qkv.gemm(sequences_, first_input_.data, first_input_.stride);
    query.last_column = d_;
    query.c = first_query_.floats();
    query.c_stride = first_query_.stride;
    cpu::run(kernels_, query);
    for (std::int64_t i = 0; i < sequences_; ++i)
      attend(layer, i, 1, first_query_.floats() + i * first_query_.stride, first_query_.stride,
             row(context_, i));
    after_attention(layer, first, d_, sequences_, first_input_);
  }

  std::int64_t begin(std::int64_t sequence) const noexcept {
    return offsets_[static_cast<std::size_t>(sequence)];
  }

  void norm_before(NormPlacement placement, const PackedNorm& norm, const float* x,
                   std::ptrdiff_t stride, std::int64_t rows, const Matrix& input) {
    if (placement != NormPlacement::kPre) return;
    cpu::LayerNorm job = norm.norm(rows, x, stride);
    job.narrow_out = input.data;
    job.narrow_stride = input.stride;
    kernels_.layer_norm(job);
  }

  void norm_after(NormPlacement placement, const PackedNorm& norm, float* x, std::ptrdiff_t stride,
                  std::int64_t rows, const Matrix& input) {
    if (placement != NormPlacement::kPost) return;
    cpu::LayerNorm job = norm.norm(rows, x, stride);
    job.out = x;
    job.out_stride = stride;
    job.narrow_out = input.data;
    job.narrow_stride = input.stride;
    kernels_.layer_norm(job);
  }

  void attend(const Layer& layer, std::int64_t sequence, std::int64_t queries, const float* query,
              std::ptrdiff_t query_stride, void* out) {
    const float* rows = qkv_.floats() + begin(sequence) * qkv_.stride;
    cpu::Attention job;
    job.positions = begin(sequence + 1) - begin(sequence);
    job.queries = queries;
    job.heads = layer.heads;
    job.head_size = d_ / layer.heads;
    job.query = query;
    job.query_stride = query_stride;
    job.key = rows + d_;
    job.value = rows + 2 * d_;
    job.key_value_stride = qkv_.stride;
    job.out = out;
    job.out_stride = context_.stride;
    cpu::run(kernels_, job);
  }

  // x += out(context); x += mlp(x), with the norms where they belong.
  void after_attention(const Layer& layer, float* x, std::ptrdiff_t stride, std::int64_t rows,
                       const Matrix& input) {
    add_to(x, stride, layer.out.gemm(rows, context_.data, context_.stride));
    norm_after(layer.norm, layer.attention_norm, x, stride, rows, input);
    norm_before(layer.norm, layer.mlp_norm, x, stride, rows, input);
    cpu::Gemm gemm = layer.fc1.gemm(rows, input.data, input.stride);
    gemm.activated = true;
    gemm.activation = layer.activation;
    gemm.narrow_c = hidden_.data;
    gemm.c_stride = hidden_.stride;
    cpu::run(kernels_, gemm);
    add_to(x, stride, layer.fc2.gemm(rows, hidden_.data, hidden_.stride));
    norm_after(layer.norm, layer.mlp_norm, x, stride, rows, input);
  }

  void add_to(float* x, std::ptrdiff_t stride, cpu::Gemm gemm) {
    gemm.residual = x;
    gemm.residual_stride = stride;
    gemm.c = x;
    gemm.c_stride = stride;
    cpu::run(kernels_, gemm);
  }

  const EncoderPlan& plan_;
  const cpu::Kernels& kernels_;
  std::span<const std::int64_t> offsets_;
  std::int64_t rows_;
  std::int64_t sequences_;
  std::int64_t d_;
  Matrix input_;        // [rows, d] of the table's element: what the next product takes
  Matrix qkv_;          // [rows, 3d] floats
  Matrix context_;      // [rows, d]: what the heads gave
  Matrix hidden_;       // [rows, intermediate]
  Matrix first_input_;  // [sequences, d]
  Matrix first_query_;  // [sequences, 3d] floats, of which d count
  cpu::Scratch scratch_;
};

void EncoderPlan::forward(std::span<const std::int64_t> offsets, float* x,
                          std::ptrdiff_t stride) const {
  Runner(*this, offsets).forward(x, stride);
}

void EncoderPlan::forward_first(std::span<const std::int64_t> offsets, float* x,
                                std::ptrdiff_t stride, float* first) const {
  Runner(*this, offsets).forward_first(x, stride, first);
}

}  // namespace bifocal::nn
