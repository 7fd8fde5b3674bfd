#include "pooled_control.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "../row_index.h"
#include "nn/pooling.h"
#include "training/sampler.h"

namespace bifocal::training {

PooledControl::PooledControl(const ControlKind& kind, Random random, std::int64_t channels,
                             std::int64_t text_size, const ControlOptions& options)
    : kind_(kind), random_(random) {
  const std::int64_t hidden = options.hidden_size;
  if (kind.sees_image) image_ = add_layer("image", channels, hidden);
  if (kind.sees_text) text_ = add_layer("text", text_size, hidden);
  if (kind.is_two_towers) {
    scale_ = add("scale", at::full({}, std::log(10.0)));
    return;
  }
  const std::int64_t seen = kind.sees_image && kind.sees_text ? 3 * hidden : hidden;
  inner_ = add_layer("inner", seen, hidden);
  out_ = add_layer("out", hidden, 1);
}

at::Tensor PooledControl::add(const std::string& name, const at::Tensor& values) {
  parameters_.push_back({name, values.clone().requires_grad_()});
  return parameters_.back().parameter;
}

// Uniform within 1 / sqrt(in), as torch.nn.Linear.
PooledControl::Layer PooledControl::add_layer(const std::string& name, std::int64_t in,
                                              std::int64_t out) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  std::vector<float> values(static_cast<std::size_t>(in * out));
  for (float& value : values) value = static_cast<float>(random_.uniform(-bound, bound));
  return {add(name + ".weight", at::tensor(values).reshape({out, in})),
          add(name + ".bias", at::zeros({out}))};
}

// image [P, C], text [P, H] -> [P].
at::Tensor PooledControl::logits(const at::Tensor& image, const at::Tensor& text) const {
  at::Tensor of_image, of_text;
  if (kind_.sees_image) of_image = at::linear(image, image_.weight, image_.bias);
  if (kind_.sees_text) of_text = at::linear(text, text_.weight, text_.bias);
  if (kind_.is_two_towers)
    return (nn::l2_normalize(of_image) * nn::l2_normalize(of_text)).sum(1) * scale_.exp();
  const at::Tensor seen = !kind_.sees_text    ? of_image
                          : !kind_.sees_image ? of_text
                                              : at::cat({of_image, of_text, of_image * of_text}, 1);
  const at::Tensor hidden = at::gelu(at::linear(at::gelu(seen), inner_.weight, inner_.bias));
  return at::linear(hidden, out_.weight, out_.bias).squeeze(1);
}

void PooledControl::train(const PooledContrasts& data, const ControlOptions& options) {
  AdamW optimizer({{kind_.name, parameters_, options.learning_rate, options.weight_decay}}, {});
  Sampler sampler(static_cast<std::size_t>(data.image.size(0)),
                  static_cast<std::size_t>(options.batch_size), options.seed);
  const std::int64_t steps = options.epochs * sampler.batches_per_epoch();
  for (std::int64_t step = 0; step < steps; ++step) {
    const std::vector<std::size_t> drawn = sampler.batch(step);
    const at::Tensor rows = index_of({drawn.begin(), drawn.end()});
    const auto text = [&](const at::Tensor& of) {
      return data.texts.index_select(0, of.index_select(0, rows));
    };
    const at::Tensor image = data.images.index_select(0, data.image.index_select(0, rows));
    const at::Tensor yes = logits(image, text(data.true_text));
    const at::Tensor no = logits(image, text(data.false_text));
    const at::Tensor loss = 0.5 * (at::softplus(-yes).mean() + at::softplus(no).mean()) +
                            0.5 * at::softplus(no - yes).mean();
    optimizer.zero_gradients();
    loss.backward();
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    optimizer.step(0.5 * (1 + std::cos(std::numbers::pi * done)));
  }
}

at::Tensor PooledControl::margins(const PooledContrasts& data) const {
  const c10::NoGradGuard no_grad;
  const at::Tensor image = data.images.index_select(0, data.image);
  const at::Tensor yes = logits(image, data.texts.index_select(0, data.true_text));
  const at::Tensor no = logits(image, data.texts.index_select(0, data.false_text));
  return (yes - no).contiguous();
}

}  // namespace bifocal::training
