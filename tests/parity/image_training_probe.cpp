// image_training_probe <checkpoint directory> <steps.json> <batches.safetensors> <out.safetensors>
//   Optimiser steps of a whole EfficientNet with its classifier, as fine-tuning takes them:
//   vision_groups(), set_vision_training(), class_loss() and AdamW, without drop-connect, in double
//   precision: where ReLU6 bends, rounding would decide a gradient in single. The JSON has count,
//   learning_rate, layer_decay, weight_decay, beta1, beta2, epsilon, clip_norm, smoothing,
//   frozen_stages and live_batch_norm. Batch N is "N.pixels" [B, 3, H, W] and "N.targets" [B,
//   classes]. Writes the weights and statistics after the last step, under our names, "loss"
//   [count], and "rate.BLOCK" [] of each group.

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/safetensors.h"
#include "nn/weights.h"
#include "training/adamw.h"
#include "training/class_loss.h"
#include "training/image_tuning.h"
#include "vision/efficientnet_checkpoint.h"

namespace {

using bifocal::core::JsonConfig;
using bifocal::nn::StateDict;
namespace training = bifocal::training;

at::Tensor batch(const StateDict& batches, std::int64_t step, const char* part) {
  return batches.at(std::to_string(step) + "." + part).to(at::kDouble);
}

StateDict run(const char* directory, const JsonConfig& steps, const StateDict& batches) {
  bifocal::vision::EfficientNet tower = bifocal::vision::load_efficientnet(directory);
  tower->to(at::kDouble);
  const std::int64_t frozen = steps.integer("frozen_stages", 0, 100);
  std::vector<training::ParameterGroup> groups =
      training::vision_groups(*tower, steps.number("learning_rate"), steps.number("layer_decay"),
                              steps.number("weight_decay"), frozen);
  training::AdamW adamw(groups,
                        {steps.number("beta1"), steps.number("beta2"), steps.number("epsilon")});
  training::set_vision_training(*tower, true, steps.json().at("live_batch_norm").get<bool>(),
                                frozen);
  std::vector<double> losses;
  for (std::int64_t step = 0; step < steps.integer("count", 1, 1000); ++step) {
    adamw.zero_gradients();
    // As forward_features(), which takes float32 alone.
    const bifocal::vision::EfficientNetWeights weights = tower->weights();
    const at::Tensor map = weights.stem.forward(batch(batches, step, "pixels"));
    const at::Tensor logits = tower->classify(weights.forward_from(map, 0).pooled);
    const at::Tensor loss = training::class_loss(logits, batch(batches, step, "targets"),
                                                 {false, steps.number("smoothing"), {}});
    loss.backward();
    adamw.clip_gradients(steps.number("clip_norm"));
    adamw.step(1.0);
    losses.push_back(loss.item<double>());
  }
  StateDict result = bifocal::nn::state_dict_of(*tower);
  result["loss"] = at::tensor(losses);
  for (const training::ParameterGroup& group : groups)
    result["rate." + group.name.substr(group.name.find(' ') + 1)] =
        at::tensor(group.learning_rate, at::kDouble);
  return result;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 5) return 2;
  const auto batches = bifocal::nn::read_state_dict(bifocal::core::Safetensors::open(argv[3]));
  bifocal::nn::write_state_dict(argv[4], run(argv[1], JsonConfig::read(argv[2]), batches),
                                bifocal::core::DType::kF32);
} catch (const std::exception& error) {
  std::fprintf(stderr, "image_training_probe: %s\n", error.what());
  return 1;
}
