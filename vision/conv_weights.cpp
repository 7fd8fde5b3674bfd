#include "vision/conv_weights.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/hardtanh.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <array>
#include <utility>

namespace bifocal::vision {
namespace {

using Pair = std::array<std::int64_t, 2>;  // height, width
using Sizes = c10::SymIntArrayRef;
using OptionalTensor = std::optional<at::Tensor>;
using Scalars = c10::List<std::optional<at::Scalar>>;
using OptionalName = std::optional<c10::string_view>;

using ReorderWeight = at::Tensor(const at::Tensor&, Sizes, Sizes, Sizes, c10::SymInt,
                                 at::OptionalSymIntArrayRef);
using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const OptionalTensor&, Sizes,
                             Sizes, Sizes, c10::SymInt, c10::string_view, Scalars, OptionalName);
using PointwiseAdd = at::Tensor&(at::Tensor&, const at::Tensor&, const at::Tensor&,
                                 const OptionalTensor&, Sizes, Sizes, Sizes, c10::SymInt,
                                 c10::string_view, std::optional<at::Scalar>, OptionalName, Scalars,
                                 OptionalName);

Sizes symbolic(const Pair& pair) { return c10::fromIntArrayRefSlow(pair); }

constexpr Pair kNoDilation{1, 1};

// oneDNN's convolutions on prepacked weights, with the activation or the residual sum fused in.
struct PackedOps {
  c10::TypedOperatorHandle<ReorderWeight> reorder;
  c10::TypedOperatorHandle<Pointwise> pointwise;
  c10::TypedOperatorHandle<PointwiseAdd> add;
};

std::optional<PackedOps> find_packed_ops() {
  if (!at::hasMKLDNN()) return std::nullopt;
  auto& dispatcher = c10::Dispatcher::singleton();
  const auto reorder = dispatcher.findSchema({"mkldnn::_reorder_convolution_weight", ""});
  const auto pointwise = dispatcher.findSchema({"mkldnn::_convolution_pointwise", ""});
  const auto add = dispatcher.findSchema({"mkldnn::_convolution_pointwise_", "binary"});
  if (!reorder || !pointwise || !add) return std::nullopt;
  return PackedOps{reorder->typed<ReorderWeight>(), pointwise->typed<Pointwise>(),
                   add->typed<PointwiseAdd>()};
}

// A build may register the ops and still refuse to run them on its processor: one small try
// decides.
const std::optional<PackedOps>& packed_ops() {
  static const std::optional<PackedOps> ops = []() -> std::optional<PackedOps> {
    constexpr Pair kNone{0, 0};
    constexpr Pair kOne{1, 1};
    try {
      std::optional<PackedOps> found = find_packed_ops();
      if (!found) return std::nullopt;
      const c10::InferenceMode inference;
      const at::Tensor x = at::zeros({1, 8, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
      const at::Tensor weight =
          found->reorder.call(at::zeros({8, 8, 1, 1}), symbolic(kNone), symbolic(kOne),
                              symbolic(kNoDilation), 1, std::nullopt);
      at::Tensor y =
          found->pointwise.call(x, weight, std::nullopt, symbolic(kNone), symbolic(kOne),
                                symbolic(kNoDilation), 1, "swish", Scalars(), std::nullopt);
      found->add.call(y, x, weight, std::nullopt, symbolic(kNone), symbolic(kOne),
                      symbolic(kNoDilation), 1, "add", at::Scalar(1.0), std::nullopt, Scalars(),
                      std::nullopt);
      return found;
    } catch (const c10::Error&) {
      return std::nullopt;
    }
  }();
  return ops;
}

// The symmetrically padded convolution that equals a layer's on the input at hand.
struct Convolution {
  at::Tensor input;
  at::Tensor weight;
  Pair padding;  // on every side
  Pair stride;
};

Convolution convolution_of(const ConvNormAct& layer, const at::Tensor& x) {
  const Conv2dGeometry& geometry = layer.geometry;
  const Pair stride{geometry.stride, geometry.stride};
  const AxisPadding down =
      padding_of(geometry.padding, x.size(2), geometry.kernel, geometry.stride);
  const AxisPadding across =
      padding_of(geometry.padding, x.size(3), geometry.kernel, geometry.stride);
  if (down.before == down.after && across.before == across.after)
    return {x, layer.weight, {down.before, across.before}, stride};
  if (layer.shifted_weight.defined() && down.after == down.before + 1 &&
      across.after == across.before + 1)
    return {x, layer.shifted_weight, {down.after, across.after}, stride};
  return {at::constant_pad_nd(x, {across.before, across.after, down.before, down.after}),
          layer.weight,
          {0, 0},
          stride};
}

at::Tensor packed_convolution(const ConvNormAct& layer, const at::Tensor& x) {
  const Convolution conv = convolution_of(layer, x);
  c10::string_view attribute = "none";
  Scalars scalars;
  if (layer.activation == ConvActivation::kSilu) attribute = "swish";
  if (layer.activation == ConvActivation::kRelu6) {
    attribute = "hardtanh";
    scalars.push_back(at::Scalar(0.0));
    scalars.push_back(at::Scalar(6.0));
  }
  return packed_ops()->pointwise.call(conv.input, conv.weight, layer.bias, symbolic(conv.padding),
                                      symbolic(conv.stride), symbolic(kNoDilation),
                                      layer.geometry.groups, attribute, scalars, std::nullopt);
}

// With statistics that stand still a batch norm is a scale and a shift, of the weights rather than
// of the map.
struct Folded {
  at::Tensor kernel;  // [out, in / groups, k, k]
  at::Tensor shift;   // [out]
};

Folded fold(const ConvNormAct::BatchNorm& norm, const at::Tensor& kernel) {
  const at::Tensor scale = norm.weight * at::rsqrt(norm.running_var + norm.eps);  // [out]
  return {kernel * scale.view({-1, 1, 1, 1}), norm.bias - norm.running_mean * scale};
}

at::Tensor pack(const at::Tensor& weight, const Conv2dGeometry& geometry) {
  if (!packed_ops()) return weight.contiguous(at::MemoryFormat::ChannelsLast);
  const std::int64_t around = (weight.size(2) - 1) / 2;
  return packed_ops()->reorder.call(weight, symbolic(Pair{around, around}),
                                    symbolic(Pair{geometry.stride, geometry.stride}),
                                    symbolic(kNoDilation), geometry.groups, std::nullopt);
}

}  // namespace

at::Tensor activate(const at::Tensor& x, ConvActivation activation) {
  // Not clamp, whose gradient takes several passes and is 1 at both ends, where PyTorch's ReLU6 has
  // 0.
  return activation == ConvActivation::kSilu ? at::silu(x) : at::hardtanh(x, 0, 6);
}

at::Tensor ConvNormAct::forward(const at::Tensor& x) const {
  if (packed) return packed_convolution(*this, x);
  const Convolution conv = convolution_of(*this, x);
  const auto convolve = [&](const at::Tensor& kernel, const at::Tensor& shift) {
    return at::conv2d(conv.input, kernel, shift, conv.stride, conv.padding, kNoDilation,
                      geometry.groups);
  };
  at::Tensor y;
  if (!norm) {
    y = convolve(conv.weight, bias);
  } else if (norm->training) {
    y = at::batch_norm(convolve(conv.weight, {}), norm->weight, norm->bias, norm->running_mean,
                       norm->running_var, /*training=*/true, norm->momentum, norm->eps,
                       /*cudnn_enabled=*/false);
  } else {
    // Autograd would keep the map of a norm apart, and go over it three times more.
    const auto [kernel, shift] = fold(*norm, conv.weight);
    y = convolve(kernel, shift);
  }
  return activation ? activate(y, *activation) : y;
}

void ConvNormAct::add_to(at::Tensor& sum, const at::Tensor& x) const {
  if (!packed) {
    sum.add_(forward(x));
    return;
  }
  const Convolution conv = convolution_of(*this, x);
  packed_ops()->add.call(sum, conv.input, conv.weight, bias, symbolic(conv.padding),
                         symbolic(conv.stride), symbolic(kNoDilation), geometry.groups, "add",
                         at::Scalar(1.0), std::nullopt, Scalars(), std::nullopt);
}

ConvNormAct ConvNormAct::folded() const {
  ConvNormAct copy = *this;
  copy.norm.reset();
  at::Tensor kernel = weight.detach().to(at::kDouble);
  if (norm) {
    BatchNorm exact = *norm;
    for (at::Tensor* each : {&exact.weight, &exact.bias, &exact.running_mean, &exact.running_var})
      *each = each->detach().to(at::kDouble);
    const Folded folded = fold(exact, kernel);
    kernel = folded.kernel;
    copy.bias = folded.shift.to(at::kFloat);
  }
  copy.weight = kernel.to(at::kFloat).contiguous();
  return copy;
}

ConvNormAct ConvNormAct::compiled(nn::Precision /*precision: only fp32 so far*/) const {
  ConvNormAct copy = folded();
  const at::Tensor kernel = copy.weight;
  copy.weight = pack(kernel, geometry);
  // SAME with stride 2 puts one more zero after an even map than before it, which oneDNN's op
  // cannot say. A kernel with a zero row and column in front, padded symmetrically, is the same
  // convolution: on one core of an AMD EPYC it takes 0.32 ms for the depthwise 3 x 3 on 96 channels
  // of 112 x 112, where padding the map and convolving it takes 0.47.
  if (geometry.padding == Padding::kSame && geometry.stride == 2 && geometry.kernel > 1)
    copy.shifted_weight = pack(at::constant_pad_nd(kernel, {1, 0, 1, 0}), geometry);
  copy.packed = packed_ops().has_value();
  return copy;
}

}  // namespace bifocal::vision
