// training_probe <config.json> <weights.safetensors> <batches.safetensors> <out.safetensors>
//   Optimiser steps of the fusion layer by retrieval_loss() and AdamW, without dropout. The config
//   is the fusion layer's and has a "steps" object: count, learning_rate, weight_decay, beta1,
//   beta2, epsilon, clip_norm, warm_up_steps, and the loss's weights. Batch N is "N.image_tokens",
//   "N.image_pooled", "N.first_tokens", "N.first_pooled", "N.first_valid", "N.second_…", and
//   "N.pair", "N.caption", "N.image" of the false pairs, and "N.taught_image", "N.taught_first",
//   "N.taught_second" of the teacher, and "N.truths_…", "N.lies_…" (as "N.first_…"),
//   "N.shown", "N.partner" and "N.matched" of the contrasts. Writes the weights after the last
//   step, and "loss" [count].

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/safetensors.h"
#include "fusion/fusion_transformer.h"
#include "nn/weights.h"
#include "training/adamw.h"
#include "training/retrieval_loss.h"
#include "training/schedule.h"

namespace {

using bifocal::core::JsonConfig;
using bifocal::nn::StateDict;
namespace training = bifocal::training;

StateDict read(const char* path) {
  return bifocal::nn::read_state_dict(bifocal::core::Safetensors::open(path));
}

std::vector<std::int64_t> whole_numbers(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.numel()};
}

training::CaptionStates captions(const StateDict& tensors, const std::string& prefix) {
  return {tensors.at(prefix + "_tokens"), tensors.at(prefix + "_pooled"),
          tensors.at(prefix + "_valid")};
}

training::ShownContrasts shown(const StateDict& tensors, const std::string& prefix,
                               const training::ImageStates& images) {
  training::BatchContrasts drawn;
  drawn.image = whole_numbers(tensors.at(prefix + "shown"));
  drawn.partner = whole_numbers(tensors.at(prefix + "partner"));
  drawn.matched = whole_numbers(tensors.at(prefix + "matched"));
  drawn.all = drawn.image.size();
  drawn.all_matched = drawn.matched.size();
  return {drawn, images, captions(tensors, prefix + "truths"), captions(tensors, prefix + "lies")};
}

StateDict run(const JsonConfig& json, const StateDict& weights, const StateDict& tensors) {
  const auto config = bifocal::fusion::FusionConfig::from_config(json);
  bifocal::fusion::FusionTransformer fusion(config);
  bifocal::nn::load_weights(*fusion, weights, "weights");
  fusion->train();
  const JsonConfig steps = json.child("steps");
  training::ParameterGroup group{
      "all", {}, steps.number("learning_rate"), steps.number("weight_decay")};
  for (const auto& entry : fusion->named_parameters())
    group.parameters.push_back({entry.key(), entry.value()});
  training::AdamW adamw({group},
                        {steps.number("beta1"), steps.number("beta2"), steps.number("epsilon")});
  const std::int64_t count = steps.integer("count", 1, 1000);
  const training::WarmUpCosine schedule{steps.integer("warm_up_steps", 0, 1000), count, 0.0};
  const training::RetrievalWeights loss_weights{
      steps.number("caption_weight"),
      steps.number("fused_weight"),
      steps.number("match_weight"),
      steps.number("ranking_weight"),
      steps.number("late_weight"),
      steps.number("contrast_weight"),
      {steps.number("teacher_weight"), steps.number("teacher_temperature")}};
  std::vector<double> losses;
  for (std::int64_t step = 0; step < count; ++step) {
    const std::string prefix = std::to_string(step) + ".";
    training::ImageStates images;
    images.tokens = tensors.at(prefix + "image_tokens");
    images.pooled = tensors.at(prefix + "image_pooled");
    images.grid_height = config.grid_height;
    images.grid_width = config.grid_width;
    const training::FalsePairs chosen{whole_numbers(tensors.at(prefix + "pair")),
                                      whole_numbers(tensors.at(prefix + "caption")),
                                      whole_numbers(tensors.at(prefix + "image"))};
    const training::ShownContrasts contrasts = shown(tensors, prefix, images);
    adamw.zero_gradients();
    training::Loss loss = training::retrieval_loss(
        *fusion, images, captions(tensors, prefix + "first"), captions(tensors, prefix + "second"),
        loss_weights, [&chosen](const at::Tensor&) { return chosen; }, training::ProcessGroup(),
        {tensors.at(prefix + "taught_image"), tensors.at(prefix + "taught_first"),
         tensors.at(prefix + "taught_second")},
        contrasts);
    loss.total.backward();
    adamw.clip_gradients(steps.number("clip_norm"));
    adamw.step(schedule.at(step));
    losses.push_back(loss.total.item<double>());
  }
  StateDict result = bifocal::nn::state_dict_of(*fusion);
  result["loss"] = at::tensor(losses);
  return result;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) return 2;
  bifocal::nn::write_state_dict(argv[4],
                                run(JsonConfig::read(argv[1]), read(argv[2]), read(argv[3])),
                                bifocal::core::DType::kF32);
} catch (const std::exception& error) {
  std::fprintf(stderr, "training_probe: %s\n", error.what());
  return 1;
}
