#include "training/evaluation/contrast_controls.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "../row_index.h"
#include "bifocal/error.h"
#include "nn/pooling.h"
#include "training/adamw.h"
#include "training/random.h"
#include "training/sampler.h"
#include "training/schedule.h"

namespace bifocal::training {
namespace {

// Pooled vectors of contrasts: image, true and false text, by row.
struct Pooled {
  at::Tensor images, texts;                 // [N, C], [M, H]
  at::Tensor image, true_text, false_text;  // [P] int64
};

Pooled pooled_of(const BundleEvaluation& evaluation) {
  if (!evaluation.has_contrasts())
    throw Error(ErrorCode::kInvalidArgument,
                "controls need contrasts: \"contrasts\": [{\"kind\", \"true\", \"false\"}]");
  std::vector<std::int64_t> image, true_text, false_text;
  for (const BundleEvaluation::EncodedContrast& contrast : evaluation.encoded_contrasts()) {
    image.push_back(static_cast<std::int64_t>(contrast.image));
    true_text.push_back(static_cast<std::int64_t>(contrast.true_text));
    false_text.push_back(static_cast<std::int64_t>(contrast.false_text));
  }
  // Copies: what was made for inference takes no part in autograd.
  return {evaluation.encoded_images().features.pooled.clone(),
          evaluation.encoded_texts().pooled.clone(), index_of(image), index_of(true_text),
          index_of(false_text)};
}

void standardise(at::Tensor& train, at::Tensor& measured) {
  const at::Tensor mean = train.mean(0);
  const at::Tensor deviation = (train - mean).pow(2).mean(0).sqrt() + 1e-4;
  train = (train - mean) / deviation;
  measured = (measured - mean) / deviation;
}

struct ControlKind {
  const char* name;
  bool sees_image, sees_text, is_two_towers;
};
constexpr std::array<ControlKind, 4> kControls = {{{"image alone", true, false, false},
                                                   {"text alone", false, true, false},
                                                   {"two towers", true, true, true},
                                                   {"pooled MLP", true, true, false}}};

class Control {
 public:
  Control(const ControlKind& kind, Random random, std::int64_t channels, std::int64_t text_size,
          const ControlOptions& options)
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

  std::vector<ParameterGroup> groups(const ControlOptions& options) const {
    return {{kind_.name, parameters_, options.learning_rate, options.weight_decay}};
  }

  // image [P, C], text [P, H] -> [P].
  at::Tensor logits(const at::Tensor& image, const at::Tensor& text) const {
    at::Tensor of_image, of_text;
    if (kind_.sees_image) of_image = at::linear(image, image_.weight, image_.bias);
    if (kind_.sees_text) of_text = at::linear(text, text_.weight, text_.bias);
    if (kind_.is_two_towers)
      return (nn::l2_normalize(of_image) * nn::l2_normalize(of_text)).sum(1) * scale_.exp();
    const at::Tensor seen = !kind_.sees_text ? of_image
                            : !kind_.sees_image
                                ? of_text
                                : at::cat({of_image, of_text, of_image * of_text}, 1);
    const at::Tensor hidden = at::gelu(at::linear(at::gelu(seen), inner_.weight, inner_.bias));
    return at::linear(hidden, out_.weight, out_.bias).squeeze(1);
  }

 private:
  struct Layer {
    at::Tensor weight, bias;
  };
  at::Tensor add(const std::string& name, const at::Tensor& values) {
    parameters_.push_back({name, values.clone().requires_grad_()});
    return parameters_.back().parameter;
  }
  // Uniform within 1 / sqrt(in), as torch.nn.Linear.
  Layer add_layer(const std::string& name, std::int64_t in, std::int64_t out) {
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    std::vector<float> values(static_cast<std::size_t>(in * out));
    for (float& value : values) value = static_cast<float>(random_.uniform(-bound, bound));
    return {add(name + ".weight", at::tensor(values).reshape({out, in})),
            add(name + ".bias", at::zeros({out}))};
  }

  ControlKind kind_;
  Random random_;
  std::vector<NamedParameter> parameters_;
  Layer image_, text_, inner_, out_;
  at::Tensor scale_;
};

void train(const Control& control, const Pooled& data, const ControlOptions& options) {
  AdamW optimizer(control.groups(options), {});
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
    const at::Tensor yes = control.logits(image, text(data.true_text));
    const at::Tensor no = control.logits(image, text(data.false_text));
    const at::Tensor loss = 0.5 * (at::softplus(-yes).mean() + at::softplus(no).mean()) +
                            0.5 * at::softplus(no - yes).mean();
    optimizer.zero_gradients();
    loss.backward();
    const double done = static_cast<double>(step) / static_cast<double>(steps);
    optimizer.step(0.5 * (1 + std::cos(std::numbers::pi * done)));
  }
}

std::vector<double> outcomes(const Control& control, const Pooled& data) {
  const c10::NoGradGuard no_grad;
  const at::Tensor image = data.images.index_select(0, data.image);
  const at::Tensor yes = control.logits(image, data.texts.index_select(0, data.true_text));
  const at::Tensor no = control.logits(image, data.texts.index_select(0, data.false_text));
  const at::Tensor difference = (yes - no).contiguous();
  std::vector<double> right;
  for (std::int64_t i = 0; i < difference.size(0); ++i) {
    const float value = difference.const_data_ptr<float>()[i];
    right.push_back(value > 0 ? 1 : value < 0 ? 0 : 0.5);
  }
  return right;
}

}  // namespace

std::vector<BundleEvaluation::Control> contrast_controls(const BundleEvaluation& of_train,
                                                         const BundleEvaluation& of_measured,
                                                         const ControlOptions& options) {
  Pooled data = pooled_of(of_train), measured = pooled_of(of_measured);
  standardise(data.images, measured.images);
  standardise(data.texts, measured.texts);
  const std::int64_t channels = data.images.size(1), text_size = data.texts.size(1);
  std::vector<BundleEvaluation::Control> controls;
  for (std::size_t i = 0; i < kControls.size(); ++i) {
    const Control control(kControls[i], Random(options.seed, i), channels, text_size, options);
    train(control, data, options);
    controls.push_back({kControls[i].name, outcomes(control, measured)});
  }
  return controls;
}

}  // namespace bifocal::training
