#include "vision/efficientnet_plan.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>

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

// From pixel to pixel of `channels`, in whole cache lines.
std::ptrdiff_t pixel_stride(std::int64_t channels) noexcept { return (channels + 15) / 16 * 16; }

// A map, row by row; a pixel's channels stand side by side.
struct Map {
  float* data = nullptr;
  Grid size;
  std::int64_t channels = 0;
  std::ptrdiff_t stride = 0;  // floats from pixel to pixel

  ImageView view() const noexcept { return {data, size, channels, 1, size.width * stride, stride}; }
};

}  // namespace

EfficientNetPlan::Dense EfficientNetPlan::add_dense(nn::WeightArena& arena,
                                                    const ConvNormAct& layer) {
  const ConvNormAct folded = layer.folded();
  return {arena.add(nn::LinearWeights(by_position(folded.weight), folded.bias)), layer.geometry,
          layer.activation};
}

EfficientNetPlan::Depthwise EfficientNetPlan::add_depthwise(nn::WeightArena& arena,
                                                            const ConvNormAct& layer) {
  const ConvNormAct folded = layer.folded();
  return {arena.add(by_position(folded.weight).t()), arena.add(folded.bias), layer.geometry,
          layer.activation};
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
      : plan_(plan), kernels_(*plan.kernels_), sizes_(measure(image)), scratch_(bytes(sizes_)) {
    const auto take = [&](std::int64_t count) {
      return scratch_.take<float>(static_cast<std::size_t>(count));
    };
    maps_ = {take(sizes_.map), take(sizes_.map)};
    inner_ = take(sizes_.inner);
    patches_ = take(sizes_.patches);
    means_ = take(sizes_.channels);
    reduced_ = take(sizes_.channels);
    gates_ = take(sizes_.channels);
  }

  void forward(const ImageView& image, float* tokens, float* pooled) {
    const std::int64_t stride = plan_.token_channels();
    Map x = convolve(plan_.stem_, image, maps_[0], plan_.stem_.linear.columns);
    for (std::size_t i = 0; i < plan_.blocks_.size(); ++i) {
      x = run(plan_.blocks_[i], x, x.data == maps_[0] ? maps_[1] : maps_[0]);
      if (i + 1 == plan_.detail_blocks_) put_detail(x, tokens + plan_.channels(), stride);
    }
    const Map last = convolve(plan_.head_, x.view(), tokens, stride);
    kernels_.column_means(tokens, last.stride, last.size.pixels(), last.channels, pooled);
  }

 private:
  // In floats.
  struct Sizes {
    std::int64_t map = 0;  // of the largest between two blocks
    std::int64_t inner = 0;
    std::int64_t patches = 0;
    std::int64_t channels = 0;  // the most of any map
  };

  static std::size_t bytes(const Sizes& sizes) noexcept {
    std::size_t total = 0;
    for (const std::int64_t count : {sizes.map, sizes.map, sizes.inner, sizes.patches,
                                     sizes.channels, sizes.channels, sizes.channels})
      total += nn::cpu::Scratch::rounded(static_cast<std::size_t>(count) * sizeof(float));
    return total;
  }

  // The sizes that the steps below need.
  Sizes measure(const ImageView& image) const {
    Sizes sizes;
    Map x{nullptr, image.size, image.channels, 0};
    const auto pass = [&](const Dense& dense) {
      x.size = strided(x.size, dense.geometry);
      x.channels = dense.linear.columns;
      if (!dense.is_pointwise())
        sizes.patches =
            std::max(sizes.patches, band_rows(dense, x.size) * x.size.width * dense.linear.depth);
    };
    const auto between_blocks = [&] {
      sizes.map = std::max(sizes.map, x.size.pixels() * x.channels);
      sizes.channels = std::max(sizes.channels, x.channels);
    };
    pass(plan_.stem_);
    between_blocks();
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
      sizes.inner = std::max(sizes.inner, rows * x.size.width * pixel_stride(block.inner_channels));
      sizes.channels = std::max(sizes.channels, block.inner_channels);
      pass(block.project);
      between_blocks();
    }
    return sizes;
  }

  // Rows of the output, of `size`, that are computed at once.
  static std::int64_t band_rows(const Dense& dense, const Grid& size) noexcept {
    const std::int64_t rows = kBandFloats / (size.width * dense.linear.depth);
    return std::clamp<std::int64_t>(rows, 1, size.height);
  }

  // Calls use(product, first) for each band of a convolution's output: `first` is its first pixel;
  // where the product goes is for the callee to say.
  template <typename Use>
  void for_bands(const Dense& dense, const ImageView& x, const Use& use) {
    const Grid size = strided(x.size, dense.geometry);
    const std::int64_t band = band_rows(dense, size);
    for (std::int64_t row = 0; row < size.height; row += band) {
      const std::int64_t rows = std::min(band, size.height - row);
      const float* a = x.data + row * x.row_stride;
      std::ptrdiff_t stride = x.pixel_stride;
      if (!dense.is_pointwise()) {
        gather_patches(x, dense.geometry, row, rows, patches_);
        a = patches_;
        stride = dense.linear.depth;
      }
      nn::cpu::Gemm product = dense.linear.gemm(rows * size.width, a, stride);
      product.activated = dense.activation.has_value();
      if (dense.activation) product.activation = as_nn(*dense.activation);
      use(product, row * size.width);
    }
  }

  void multiply(nn::cpu::Gemm product, const Map& to, std::int64_t first) {
    product.c = to.data + first * to.stride;
    product.c_stride = to.stride;
    nn::cpu::run(kernels_, product);
  }

  Map convolve(const Dense& dense, const ImageView& x, float* to, std::ptrdiff_t stride) {
    const Map out{to, strided(x.size, dense.geometry), dense.linear.columns, stride};
    for_bands(dense, x, [&](const nn::cpu::Gemm& product, std::int64_t first) {
      multiply(product, out, first);
    });
    return out;
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
              std::copy_n(map.data + (y * map.size.width + x) * map.stride, map.channels, at);
            else
              std::fill_n(at, map.channels, 0.0F);
          }
      }
  }

  Map run(const Block& block, const Map& x, float* to) {
    if (block.streams()) return run_streaming(block, x, to);
    Map inner = x;
    if (block.depthwise || block.expand) inner = run_inner(block, x);
    if (block.se) find_gates(*block.se);
    const std::int64_t channels = block.project.linear.columns;
    const Map out{to, strided(inner.size, block.project.geometry), channels, channels};
    for_bands(block.project, inner.view(), [&](nn::cpu::Gemm product, std::int64_t first) {
      if (block.se)
        kernels_.scale_columns(inner.data + first * inner.stride, inner.stride, product.rows,
                               inner.channels, gates_);
      project(block, product, x, out, first);
    });
    return out;
  }

  // Expansion and projection band by band: the expanded map never exists.
  Map run_streaming(const Block& block, const Map& x, float* to) {
    const std::int64_t channels = block.project.linear.columns;
    const std::ptrdiff_t stride = pixel_stride(block.inner_channels);
    const Map out{to, strided(x.size, block.expand->geometry), channels, channels};
    for_bands(*block.expand, x.view(), [&](const nn::cpu::Gemm& expansion, std::int64_t first) {
      const Map inner{inner_, {}, block.inner_channels, stride};
      multiply(expansion, inner, 0);
      project(block, block.project.linear.gemm(expansion.rows, inner.data, stride), x, out, first);
    });
    return out;
  }

  void project(const Block& block, nn::cpu::Gemm product, const Map& x, const Map& out,
               std::int64_t first) {
    if (block.residual) {
      product.residual = x.data + first * x.stride;
      product.residual_stride = x.stride;
    }
    multiply(product, out, first);
  }

  // What a block projects, and its means.
  Map run_inner(const Block& block, const Map& x) {
    Map inner{inner_, {}, block.inner_channels, pixel_stride(block.inner_channels)};
    if (block.depthwise) {
      nn::cpu::Depthwise job = depthwise_job(block, x);
      job.out = inner.data;
      job.out_stride = inner.stride;
      job.means = means_;
      nn::cpu::run(kernels_, job);
      inner.size = {job.out_height, job.out_width};
      return inner;
    }
    for_bands(*block.expand, x.view(), [&](const nn::cpu::Gemm& expansion, std::int64_t first) {
      multiply(expansion, inner, first);
    });
    inner.size = strided(x.size, block.expand->geometry);
    kernels_.column_means(inner.data, inner.stride, inner.size.pixels(), inner.channels, means_);
    return inner;
  }

  static nn::cpu::Depthwise depthwise_job(const Block& block, const Map& x) {
    const Depthwise& layer = *block.depthwise;
    const auto& [kernel, stride, groups, padding] = layer.geometry;
    nn::cpu::Depthwise job;
    job.x = x.data;
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
    nn::cpu::Gemm reduce = se.reduce.gemm(1, means_, se.reduce.depth);
    reduce.activated = true;
    reduce.activation = as_nn(se.activation);
    reduce.c = reduced_;
    nn::cpu::run(kernels_, reduce);
    nn::cpu::Gemm expand = se.expand.gemm(1, reduced_, se.expand.depth);
    expand.c = gates_;
    nn::cpu::run(kernels_, expand);
    kernels_.sigmoid(gates_, se.expand.columns);
  }

  const EfficientNetPlan& plan_;
  const nn::cpu::Kernels& kernels_;
  Sizes sizes_;
  nn::cpu::Scratch scratch_;
  std::array<float*, 2> maps_{};  // a block's input and its output, by turns
  float* inner_ = nullptr;        // what a block projects: all of it, or a band
  float* patches_ = nullptr;      // of one band
  float* means_ = nullptr;        // [channels]
  float* reduced_ = nullptr;      // what they are squeezed to
  float* gates_ = nullptr;        // [channels]
};

void EfficientNetPlan::forward(const ImageView& image, float* tokens, float* pooled) const {
  Pass(*this, image).forward(image, tokens, pooled);
}

}  // namespace bifocal::vision
