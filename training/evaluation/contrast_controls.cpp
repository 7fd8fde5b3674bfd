#include "training/evaluation/contrast_controls.h"

#include <array>
#include <string>

#include "../row_index.h"
#include "bifocal/error.h"
#include "pooled_control.h"

namespace bifocal::training {
namespace {

PooledContrasts pooled_of(const BundleEvaluation& evaluation) {
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

constexpr std::array<ControlKind, 4> kControls = {{{"image alone", true, false, false},
                                                   {"text alone", false, true, false},
                                                   {"two towers", true, true, true},
                                                   {"pooled MLP", true, true, false}}};

std::vector<double> outcomes(const at::Tensor& margins) {
  std::vector<double> right;
  for (std::int64_t i = 0; i < margins.size(0); ++i) {
    const float value = margins.const_data_ptr<float>()[i];
    right.push_back(value > 0 ? 1 : value < 0 ? 0 : 0.5);
  }
  return right;
}

}  // namespace

std::vector<BundleEvaluation::Control> contrast_controls(const BundleEvaluation& of_train,
                                                         const BundleEvaluation& of_measured,
                                                         const ControlOptions& options) {
  PooledContrasts data = pooled_of(of_train), measured = pooled_of(of_measured);
  standardise(data.images, measured.images);
  standardise(data.texts, measured.texts);
  const std::int64_t channels = data.images.size(1), text_size = data.texts.size(1);
  std::vector<BundleEvaluation::Control> controls;
  for (std::size_t i = 0; i < kControls.size(); ++i) {
    PooledControl control(kControls[i], Random(options.seed, i), channels, text_size, options);
    control.train(data, options);
    controls.push_back({kControls[i].name, outcomes(control.margins(measured))});
  }
  return controls;
}

}  // namespace bifocal::training
