#pragma once

#include <ATen/ops/dropout.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <string>
#include <vector>

#include "training/trainable.h"

namespace bifocal::testing {

// The least that train() can train: a line through noisy points, with dropout, a buffer, and data
// augmentation by random numbers of the sample.
class LineFit : public training::Trainable {
 public:
  explicit LineFit(std::size_t samples = 40, double dropout = 0.005)
      : samples_(samples), dropout_(dropout) {
    weight_.requires_grad_(true);
    bias_.requires_grad_(true);
  }

  std::vector<training::ParameterGroup> parameter_groups() override {
    return {{"weight", {{"weight", weight_}}, 0.05, 0.01}, {"bias", {{"bias", bias_}}, 0.1, 0.01}};
  }
  nn::StateDict state() override { return {{"weight", weight_}, {"bias", bias_}, {"seen", seen_}}; }
  void move_to(const at::Device& device) override {
    for (at::Tensor* each : {&weight_, &bias_, &seen_}) each->set_data(each->to(device));
  }
  void set_training(bool training) override { training_ = training; }
  std::size_t sample_count() const override { return samples_; }
  std::string sample_id(std::size_t sample) const override {
    return "point " + std::to_string(sample);
  }

  training::Loss loss(const training::Batch& batch) override {
    std::vector<float> x, y;
    for (const std::size_t sample : batch.samples) {
      const float at = static_cast<float>(sample) / 10;
      x.push_back(at);
      y.push_back(3 * at - 1 + static_cast<float>(batch.random_of(sample).uniform(-0.1, 0.1)));
    }
    const auto rows = static_cast<std::int64_t>(x.size());
    const at::Tensor inputs = at::tensor(x).view({rows, 1});
    const at::Tensor predicted =
        at::linear(training_ ? at::dropout(inputs, dropout_, true) : inputs, weight_, bias_);
    {
      const c10::NoGradGuard no_grad;
      seen_.add_(static_cast<double>(rows));
    }
    at::Tensor total = at::mse_loss(predicted.squeeze(1), at::tensor(y));
    if (batch.number == broken_batch) total = total / 0.0;
    return {total, {{"squared_error", total.item<double>()}}};
  }
  training::Metrics evaluate() override {
    return {{"slope_error", std::abs(weight_.item<double>() - 3)}};
  }

  std::int64_t broken_batch = -1;

 private:
  std::size_t samples_;
  double dropout_;
  at::Tensor weight_ = at::zeros({1, 1}), bias_ = at::zeros({1}), seen_ = at::zeros({});
  bool training_ = false;
};

}  // namespace bifocal::testing
