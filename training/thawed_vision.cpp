#include "training/thawed_vision.h"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/modulelist.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace bifocal::training {
namespace {

// "stem", "stages.S.L" or "head": the block that a parameter or module belongs to.
std::string block_of(const std::string& name) {
  std::size_t end = name.find('.');
  if (name.starts_with("stages."))
    for (int dot = 0; dot < 2 && end != std::string::npos; ++dot) end = name.find('.', end + 1);
  return name.substr(0, end);
}

bool is_frozen(const std::string& name, std::int64_t frozen_stages) {
  if (frozen_stages == 0 || name.starts_with("head")) return false;
  constexpr std::string_view kStages = "stages.";
  if (!name.starts_with(kStages)) return name.starts_with("stem");
  return std::stoll(name.substr(kStages.size())) < frozen_stages;
}

}  // namespace

vision::EfficientNet thawed_copy(const vision::EfficientNet& tower, double drop_connect) {
  vision::EfficientNetConfig config = tower->config();
  config.drop_connect_rate = drop_connect;
  config.num_classes = 0;
  vision::EfficientNet copy(config);
  nn::StateDict weights = nn::state_dict_of(*tower);
  std::erase_if(weights, [](const auto& entry) { return entry.first.starts_with("classifier."); });
  nn::load_weights(*copy, weights, "vision encoder");
  copy->eval();
  return copy;
}

std::vector<ParameterGroup> vision_groups(vision::EfficientNetImpl& tower, double learning_rate,
                                          double layer_decay, double weight_decay,
                                          std::int64_t frozen_stages) {
  std::vector<ParameterGroup> groups;  // from the stem up
  for (auto& entry : tower.named_parameters()) {
    if (is_frozen(entry.key(), frozen_stages)) {
      entry.value().set_requires_grad(false);
      continue;
    }
    const std::string name = "vision " + block_of(entry.key());
    if (groups.empty() || groups.back().name != name)
      groups.push_back({name, {}, learning_rate, weight_decay});
    groups.back().parameters.push_back({"vision." + entry.key(), entry.value()});
  }
  double rate = learning_rate;
  for (auto group = groups.rbegin(); group != groups.rend(); ++group, rate *= layer_decay)
    group->learning_rate = rate;
  return groups;
}

void set_vision_training(vision::EfficientNetImpl& tower, bool training, bool live_batch_norm,
                         std::int64_t frozen_stages) {
  tower.train(training);
  for (const auto& entry : tower.named_modules("", /*include_self=*/false))
    if (auto norm = std::dynamic_pointer_cast<torch::nn::BatchNorm2dImpl>(entry.value()))
      norm->train(training && live_batch_norm && !is_frozen(entry.key(), frozen_stages));
}

UpperStages::UpperStages(const vision::EfficientNet& tower, std::size_t frozen, double drop_connect)
    : tower_(thawed_copy(tower, drop_connect)),
      frozen_(frozen),
      blocks_(vision::blocks_of_stages(tower->config(), frozen)) {}

ImageStates UpperStages::forward(const ImageFeatures& features, const at::Tensor& rows,
                                 const at::Tensor& views, const at::Device& device) const {
  const auto chosen = [&](const at::Tensor& of_pictures) {
    return of_pictures.index({rows, views}).to(device).to(at::kFloat);
  };
  ImageStates states;
  states.grid_height = features.grid_height;
  states.grid_width = features.grid_width;
  if (empty()) {
    states.tokens = chosen(features.tokens);
    states.pooled = chosen(features.pooled);
    return states;
  }
  const at::Tensor map = chosen(features.map).permute({0, 3, 1, 2});
  const vision::VisionOutput output = tower_->weights().forward_from(map, blocks_);
  states.tokens = output.tokens;
  states.pooled = output.pooled;
  return states;
}

std::vector<ParameterGroup> UpperStages::parameter_groups(double learning_rate, double layer_decay,
                                                          double weight_decay) {
  if (empty()) return {};
  return vision_groups(*tower_, learning_rate, layer_decay, weight_decay,
                       static_cast<std::int64_t>(frozen_));
}

void UpperStages::move_to(const at::Device& device) {
  if (!empty()) tower_->to(device);
}

void UpperStages::set_training(bool training) {
  if (!empty())
    set_vision_training(*tower_, training, /*live_batch_norm=*/false,
                        static_cast<std::int64_t>(frozen_));
}

}  // namespace bifocal::training
