#include "vision/conv_weights.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <array>
#include <utility>

namespace bifocal::vision {
namespace {

using Scalars = c10::List<std::optional<at::Scalar>>;
using ReorderWeight = at::Tensor(const at::Tensor&, c10::SymIntArrayRef, c10::SymIntArrayRef,
                                 c10::SymIntArrayRef, c10::SymInt, at::OptionalSymIntArrayRef);
using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                             c10::SymIntArrayRef, c10::SymIntArrayRef, c10::SymIntArrayRef,
                             c10::SymInt, c10::string_view, Scalars,
                             std::optional<c10::string_view>);

// oneDNN's convolution with its activation fused.
struct PackedOps {
  c10::TypedOperatorHandle<Pointwise> pointwise;
};

const std::optional<PackedOps>& packed_ops() {
  static const std::optional<PackedOps> ops = []() -> std::optional<PackedOps> {
    if (!at::hasMKLDNN()) return std::nullopt;
    const auto pointwise =
        c10::Dispatcher::singleton().findSchema({"mkldnn::_convolution_pointwise", ""});
    if (!pointwise) return std::nullopt;
    return PackedOps{pointwise->typed<Pointwise>()};
  }();
  return ops;
}

struct Pads {
  std::int64_t before = 0, after = 0;
};

// TensorFlow's "SAME": as much as makes the output ceil(size / stride), the odd pixel at the end.
Pads pads_of(const Conv2dGeometry& geometry, std::int64_t size) {
  if (geometry.padding == Padding::kSymmetric)
    return {(geometry.kernel - 1) / 2, (geometry.kernel - 1) / 2};
  const std::int64_t outputs = (size + geometry.stride - 1) / geometry.stride;
  const std::int64_t total =
      std::max<std::int64_t>(0, (outputs - 1) * geometry.stride + geometry.kernel - size);
  return {total / 2, total - total / 2};
}

at::Tensor packed_convolution(const ConvNormAct& layer, const at::Tensor& x,
                              std::array<std::int64_t, 2> padding) {
  const std::array<std::int64_t, 2> stride{layer.geometry.stride, layer.geometry.stride};
  const std::array<std::int64_t, 2> dilation{1, 1};
  c10::string_view attribute = "none";
  Scalars scalars;
  if (layer.activation == ConvActivation::kSilu) attribute = "swish";
  if (layer.activation == ConvActivation::kRelu6) {
    attribute = "hardtanh";
    scalars.push_back(at::Scalar(0.0));
    scalars.push_back(at::Scalar(6.0));
  }
  return packed_ops()->pointwise.call(
      x, layer.weight, layer.bias, c10::fromIntArrayRefSlow(padding),
      c10::fromIntArrayRefSlow(stride), c10::fromIntArrayRefSlow(dilation),
      c10::SymInt(layer.geometry.groups), attribute, scalars, std::nullopt);
}

}  // namespace

at::Tensor activate(const at::Tensor& x, ConvActivation activation) {
  return activation == ConvActivation::kSilu ? at::silu(x) : at::clamp(x, 0, 6);
}

at::Tensor ConvNormAct::forward(const at::Tensor& x) const {
  const Pads down = pads_of(geometry, x.size(2)), across = pads_of(geometry, x.size(3));
  at::Tensor input = x;
  std::array<std::int64_t, 2> padding{down.before, across.before};
  // No convolution here takes a padding that differs between its ends.
  if (down.before != down.after || across.before != across.after) {
    input = at::constant_pad_nd(x, {across.before, across.after, down.before, down.after});
    padding = {0, 0};
  }
  if (packed) return packed_convolution(*this, input, padding);
  at::Tensor y = at::conv2d(input, weight, bias, geometry.stride, padding, 1, geometry.groups);
  if (norm)
    y = at::batch_norm(y, norm->weight, norm->bias, norm->running_mean, norm->running_var,
                       norm->training, norm->momentum, norm->eps, /*cudnn_enabled=*/false);
  return activation ? activate(y, *activation) : y;
}

ConvNormAct ConvNormAct::compiled(nn::Precision /*precision: only fp32 so far*/) const {
  ConvNormAct folded = *this;
  folded.norm.reset();
  folded.weight = weight.detach();
  if (norm) {
    const at::Tensor scale =
        norm->weight.detach() * at::rsqrt(norm->running_var.detach() + norm->eps);  // [out]
    folded.weight = folded.weight * scale.view({-1, 1, 1, 1});
    folded.bias = norm->bias.detach() - norm->running_mean.detach() * scale;
  }
  folded.weight = folded.weight.contiguous(at::MemoryFormat::ChannelsLast);
  folded.packed = packed_ops().has_value();
  return folded;
}

}  // namespace bifocal::vision
