#include "vision/efficientnet_plan.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "nn/cpu/memory.h"
#include "nn/cpu/steps.h"

namespace bifocal::vision {
namespace {

// Floats of the rows that meet all columns of a product before the next rows do: they stay in the
// second-level cache.
constexpr std::int64_t kBandFloats = 48 * 1024;

nn::Activation as_nn(ConvActivation activation) noexcept {
  return activation == ConvActivation::kSilu ? nn::Activation::kSilu : nn::Activation::kRelu6;
}

at::Tensor by_position(const at::Tensor& weight) {  // [out, in, k, k] -> [out, k * k * in]
  return weight.permute({0, 2, 3, 1}).flatten(1);
}
// The same column by column, as stack_columns() has what it multiplies.
at::Tensor by_column(const at::Tensor& weight) { return weight.permute({0, 3, 2, 1}).flatten(1); }

// From pixel to pixel of `channels` numbers, in whole cache lines.
std::ptrdiff_t pixel_stride(std::int64_t channels, std::size_t element_bytes) noexcept {
  const auto line = static_cast<std::int64_t>(64 / element_bytes);
  return (channels + line - 1) / line * line;
}

// A map, row by row; a pixel's channels stand side by side. One that is added to or leaves the
// network is there in floats, and one that is multiplied in the kernels' element, which may be the
// same.
struct Map {
  float* floats = nullptr;
  std::byte* operand = nullptr;
  Grid size;
  std::int64_t channels = 0;
  std::ptrdiff_t stride = 0;  // numbers from pixel to pixel
};

}  // namespace

EfficientNetPlan::Dense EfficientNetPlan::add_dense(nn::WeightArena& arena,
                                                    const ConvNormAct& layer) {
  const std::int64_t out = layer.weight.size(0);
  return {arena.add(layer.weight.numel() / out, out,
                    [&layer] {
                      const ConvNormAct folded = layer.folded();
                      return nn::LinearWeights(by_column(folded.weight), folded.bias);
                    }),
          layer.geometry, layer.activation};
}

EfficientNetPlan::Depthwise EfficientNetPlan::add_depthwise(nn::WeightArena& arena,
                                                            const ConvNormAct& layer) {
  const float* weights =
      arena.add(layer.weight.numel(), [&layer] { return by_position(layer.folded().weight).t(); });
  const float* bias = arena.add(layer.weight.size(0), [&layer] { return layer.folded().bias; });
  return {weights, bias, layer.geometry, layer.activation};
}

EfficientNetPlan::Block EfficientNetPlan::add_block(nn::WeightArena& arena,
                                                    const BlockWeights& weights) {
  Block block;
  if (weights.expand) {
    block.expand = add_dense(arena, *weights.expand);
    block.inner_channels = block.expand->linear.columns;
  }
  if (weights.depthwise) {
    block.depthwise = add_depthwise(arena, *weights.depthwise);
    block.inner_channels = weights.depthwise->weight.size(0);
  }
  if (weights.se) {
    const SqueezeExcitationWeights& se = *weights.se;
    block.se = {arena.add(nn::LinearWeights(se.reduce_weight, se.reduce_bias)),
                arena.add(nn::LinearWeights(se.expand_weight, se.expand_bias)), se.activation};
  }
  block.project = add_dense(arena, weights.project);
  block.residual = weights.residual;
  return block;
}

EfficientNetPlan::EfficientNetPlan(const EfficientNetWeights& network,
                                   const nn::cpu::Kernels& kernels)
    : kernels_(&kernels),
      detail_blocks_(network.detail_blocks),
      detail_fold_(network.detail_fold),
      weights_(kernels, [&](nn::WeightArena& arena) {
        stem_ = add_dense(arena, network.stem);
        blocks_.clear();
        for (const BlockWeights& block : network.blocks) blocks_.push_back(add_block(arena, block));
        head_ = add_dense(arena, network.head);
      }) {}

std::int64_t EfficientNetPlan::token_channels() const noexcept {
  if (detail_blocks_ == 0) return channels();
  return channels() +
         detail_fold_ * detail_fold_ * blocks_[detail_blocks_ - 1].project.linear.columns;
}

Grid EfficientNetPlan::grid(const Grid& image) const noexcept {
  Grid size = strided(image, stem_.geometry);
  for (const Block& block : blocks_) {
    if (block.expand) size = strided(size, block.expand->geometry);
    if (block.depthwise) size = strided(size, block.depthwise->geometry);
    size = strided(size, block.project.geometry);
  }
  return size;
}

// One image on its way through the network, in scratch memory of the calling thread.
class EfficientNetPlan::Pass {
 public:
  Pass(const EfficientNetPlan& plan, const ImageView& image)
      : plan_(plan),
        kernels_(*plan.kernels_),
        element_(nn::cpu::element_bytes(kernels_.precision)),
        sizes_(measure(image)),
        scratch_(lay_out(nullptr)) {
    lay_out(&scratch_);
  }

  void forward(const ImageView& image, float* tokens, float* pooled) {
    const std::int64_t stride = plan_.token_channels();
    const Map pixels = between_blocks(1, image.size, image.channels);
    interleave(image, pixels.floats);
    if (narrows()) {
      const std::int64_t count = image.size.pixels() * image.channels;
      kernels_.narrow(pixels.floats, count, 1, count, pixels.operand, count);
    }
    Map x =
        between_blocks(0, strided(image.size, plan_.stem_.geometry), plan_.stem_.linear.columns);
    convolve(plan_.stem_, pixels, x);
    for (std::size_t i = 0; i < plan_.blocks_.size(); ++i) {
      x = run(plan_.blocks_[i], x, x.floats == maps_[0] ? 1 : 0);
      if (i + 1 == plan_.detail_blocks_) put_detail(x, tokens + plan_.channels(), stride);
    }
    const Map last{tokens, nullptr, strided(x.size, plan_.head_.geometry),
                   plan_.head_.linear.columns, stride};
    convolve(plan_.head_, x, last);
    kernels_.column_means(tokens, last.stride, last.size.pixels(), last.channels, pooled);
  }

 private:
  // In numbers.
  struct Sizes {
    std::int64_t map = 0;  // of the largest between two blocks
    std::int64_t inner = 0;
    std::int64_t stacked = 0;
    std::int64_t channels = 0;  // the most of any map
  };

  bool narrows() const noexcept { return element_ < sizeof(float); }

  // Takes the memory from the scratch, or only counts: the bytes of all.
  std::size_t lay_out(nn::cpu::Scratch* scratch) {
    std::size_t total = 0;
    const auto take = [&](auto*& to, std::int64_t count, std::size_t element) {
      const std::size_t bytes = static_cast<std::size_t>(count) * element;
      total += nn::cpu::Scratch::rounded(bytes);
      if (scratch != nullptr)
        to = static_cast<std::remove_reference_t<decltype(to)>>(scratch->take_bytes(bytes));
    };
    for (std::size_t i = 0; i < maps_.size(); ++i) {
      take(maps_[i], sizes_.map, sizeof(float));
      operands_[i] = reinterpret_cast<std::byte*>(maps_[i]);
      if (narrows()) take(operands_[i], sizes_.map, element_);
    }
    take(inner_, sizes_.inner, element_);
    take(stacked_, sizes_.stacked, element_);
    take(means_, sizes_.channels, sizeof(float));
    take(squeezed_, sizes_.channels, element_);
    take(reduced_, sizes_.channels, element_);
    take(gates_, sizes_.channels, sizeof(float));
    return total;
  }

  // The sizes that the steps below need.
  Sizes measure(const ImageView& image) const {
    Sizes sizes;
    Map x{nullptr, nullptr, image.size, image.channels, 0};
    const auto pass = [&](const Dense& dense) {
      if (!dense.is_pointwise())
        sizes.stacked = std::max(sizes.stacked, stacked_columns(x.size.width, dense.geometry) *
                                                    dense.geometry.kernel * x.channels);
      x.size = strided(x.size, dense.geometry);
      x.channels = dense.linear.columns;
    };
    const auto after_block = [&] {
      sizes.map = std::max(sizes.map, x.size.pixels() * x.channels);
      sizes.channels = std::max(sizes.channels, x.channels);
    };
    after_block();
    pass(plan_.stem_);
    after_block();
    for (const Block& block : plan_.blocks_) {
      std::int64_t rows = 0;
      if (block.depthwise) {
        const nn::cpu::Depthwise job = depthwise_job(block, x);
        x.size = {job.out_height, job.out_width};
        rows = x.size.height;
      } else if (block.expand) {
        pass(*block.expand);
        rows = block.streams() ? band_rows(*block.expand, x.size) : x.size.height;
      }
      sizes.inner =
          std::max(sizes.inner, rows * x.size.width * pixel_stride(block.inner_channels, element_));
      sizes.channels = std::max(sizes.channels, block.inner_channels);
      pass(block.project);
      after_block();
    }
    return sizes;
  }

  // Rows of the output, of `size`, that are computed at once.
  static std::int64_t band_rows(const Dense& dense, const Grid& size) noexcept {
    if (!dense.is_pointwise()) return 1;
    const std::int64_t rows = kBandFloats / (size.width * dense.linear.depth);
    return std::clamp<std::int64_t>(rows, 1, size.height);
  }

  Map between_blocks(std::size_t which, const Grid& size, std::int64_t channels) const noexcept {
    return {maps_[which], operands_[which], size, channels, channels};
  }

  std::byte* operand_at(const Map& map, std::int64_t pixel) const noexcept {
    return map.operand + pixel * map.stride * static_cast<std::ptrdiff_t>(element_);
  }

  // What a kernel sees along a row of its output, to stacked_.
  void stack(const Map& x, const Dense& dense, std::int64_t row) {
    const auto from = [&]<typename Element>(Element* stacked) {
      const auto* data = reinterpret_cast<const Element*>(x.operand);
      stack_columns<Element>({data, x.size, x.channels, x.stride}, dense.geometry, row, stacked);
    };
    if (narrows())
      from(reinterpret_cast<nn::cpu::Bf16*>(stacked_));
    else
      from(reinterpret_cast<float*>(stacked_));
  }

  // Calls use(product, first) for each band of a convolution's output: `first` is its first pixel;
  // where the product goes is for the callee to say.
  template <typename Use>
  void for_bands(const Dense& dense, const Map& x, const Use& use) {
    const Grid size = strided(x.size, dense.geometry);
    const std::int64_t band = band_rows(dense, size);
    for (std::int64_t row = 0; row < size.height; row += band) {
      const std::int64_t rows = std::min(band, size.height - row);
      const std::byte* a = operand_at(x, row * size.width);
      std::ptrdiff_t stride = x.stride;
      if (!dense.is_pointwise()) {
        stack(x, dense, row);
        a = stacked_;
        stride = dense.geometry.stride * dense.geometry.kernel * x.channels;
      }
      nn::cpu::Gemm product = dense.linear.gemm(rows * size.width, a, stride);
      product.weights_near = row > 0;
      product.activated = dense.activation.has_value();
      if (dense.activation) product.activation = as_nn(*dense.activation);
      use(product, row * size.width);
    }
  }

  void convolve(const Dense& dense, const Map& x, const Map& to) {
    for_bands(dense, x, [&](const nn::cpu::Gemm& product, std::int64_t first) {
      multiply(product, to, first);
    });
  }

  void multiply(nn::cpu::Gemm product, const Map& to, std::int64_t first) {
    if (to.floats != nullptr) product.c = to.floats + first * to.stride;
    if (to.operand != reinterpret_cast<std::byte*>(to.floats) && to.operand != nullptr)
      product.narrow_c = operand_at(to, first);
    product.c_stride = to.stride;
    nn::cpu::run(kernels_, product);
  }

  // Of each token the cells of `map` that it covers; zeros where the map ends.
  void put_detail(const Map& map, float* to, std::ptrdiff_t stride) const {
    const std::int64_t fold = plan_.detail_fold_;
    for (std::int64_t top = 0; top < map.size.height; top += fold)
      for (std::int64_t left = 0; left < map.size.width; left += fold, to += stride) {
        float* at = to;
        for (std::int64_t y = top; y < top + fold; ++y)
          for (std::int64_t x = left; x < left + fold; ++x, at += map.channels) {
            if (y < map.size.height && x < map.size.width)
              std::copy_n(map.floats + (y * map.size.width + x) * map.stride, map.channels, at);
            else
              std::fill_n(at, map.channels, 0.0F);
          }
      }
  }

  // -> the block's output, in the maps' `which`.
  Map run(const Block& block, const Map& x, std::size_t which) {
    if (block.streams()) return run_streaming(block, x, which);
    Map inner = x;
    if (block.depthwise || block.expand) inner = run_inner(block, x);
    if (block.se) find_gates(*block.se);
    const Map out = between_blocks(which, strided(inner.size, block.project.geometry),
                                   block.project.linear.columns);
    for_bands(block.project, inner, [&](nn::cpu::Gemm product, std::int64_t first) {
      if (block.se)
        kernels_.scale_columns(operand_at(inner, first), inner.stride, product.rows, inner.channels,
                               gates_);
      project(block, product, x, out, first);
    });
    return out;
  }

  // Expansion and projection band by band: the expanded map never exists.
  Map run_streaming(const Block& block, const Map& x, std::size_t which) {
    const Map inner = inner_map(block, {});
    const Map out = between_blocks(which, strided(x.size, block.expand->geometry),
                                   block.project.linear.columns);
    for_bands(*block.expand, x, [&](const nn::cpu::Gemm& expansion, std::int64_t first) {
      multiply(expansion, inner, 0);
      nn::cpu::Gemm projection =
          block.project.linear.gemm(expansion.rows, inner.operand, inner.stride);
      projection.weights_near = first > 0;
      project(block, projection, x, out, first);
    });
    return out;
  }

  void project(const Block& block, nn::cpu::Gemm product, const Map& x, const Map& out,
               std::int64_t first) {
    if (block.residual) {
      product.residual = x.floats + first * x.stride;
      product.residual_stride = x.stride;
    }
    multiply(product, out, first);
  }

  Map inner_map(const Block& block, const Grid& size) const noexcept {
    return {nullptr, inner_, size, block.inner_channels,
            pixel_stride(block.inner_channels, element_)};
  }

  // What a block projects, and its means.
  Map run_inner(const Block& block, const Map& x) {
    if (block.depthwise) {
      nn::cpu::Depthwise job = depthwise_job(block, x);
      const Map inner = inner_map(block, {job.out_height, job.out_width});
      job.out = inner.operand;
      job.out_stride = inner.stride;
      job.means = means_;
      nn::cpu::run(kernels_, job);
      return inner;
    }
    const Map inner = inner_map(block, strided(x.size, block.expand->geometry));
    convolve(*block.expand, x, inner);
    kernels_.operand_means(inner.operand, inner.stride, inner.size.pixels(), inner.channels,
                           means_);
    return inner;
  }

  static nn::cpu::Depthwise depthwise_job(const Block& block, const Map& x) {
    const Depthwise& layer = *block.depthwise;
    const auto& [kernel, stride, groups, padding] = layer.geometry;
    nn::cpu::Depthwise job;
    job.x = x.operand;
    job.height = x.size.height;
    job.width = x.size.width;
    job.depth = x.channels;
    if (block.expand) {
      job.expand_weights = block.expand->linear.weights;
      job.expand_bias = block.expand->linear.bias;
    }
    job.channels = block.inner_channels;
    job.kernel = kernel;
    job.stride = stride;
    job.pad_top = padding_of(padding, x.size.height, kernel, stride).before;
    job.pad_left = padding_of(padding, x.size.width, kernel, stride).before;
    job.weights = layer.weights;
    job.bias = layer.bias;
    job.activated = layer.activation.has_value();
    if (layer.activation) job.activation = as_nn(*layer.activation);
    const Grid out = strided(x.size, layer.geometry);
    job.out_height = out.height;
    job.out_width = out.width;
    return job;
  }

  // Hu et al. 2018: of the means, one factor a channel.
  void find_gates(const SqueezeExcitation& se) {
    const std::int64_t channels = se.reduce.depth;
    kernels_.narrow(means_, channels, 1, channels, squeezed_, channels);
    nn::cpu::Gemm reduce = se.reduce.gemm(1, squeezed_, channels);
    reduce.activated = true;
    reduce.activation = as_nn(se.activation);
    reduce.narrow_c = reduced_;
    nn::cpu::run(kernels_, reduce);
    nn::cpu::Gemm expand = se.expand.gemm(1, reduced_, se.expand.depth);
    expand.c = gates_;
    nn::cpu::run(kernels_, expand);
    kernels_.sigmoid(gates_, se.expand.columns);
  }

  const EfficientNetPlan& plan_;
  const nn::cpu::Kernels& kernels_;
  std::size_t element_;  // bytes of what the kernels multiply
  Sizes sizes_;
  // A block's input and its output, by turns, and the same as operands: where those are floats,
  // the same memory.
  std::array<float*, 2> maps_{};
  std::array<std::byte*, 2> operands_{};
  std::byte* inner_ = nullptr;     // what a block projects: all of it, or a band
  std::byte* stacked_ = nullptr;   // for one row of a convolution over all channels
  float* means_ = nullptr;         // [channels]
  std::byte* squeezed_ = nullptr;  // the same as an operand
  std::byte* reduced_ = nullptr;   // what they are squeezed to
  float* gates_ = nullptr;         // [channels]
  nn::cpu::Scratch scratch_;
};

void EfficientNetPlan::forward(const ImageView& image, float* tokens, float* pooled) const {
  Pass(*this, image).forward(image, tokens, pooled);
}

}  // namespace bifocal::vision
