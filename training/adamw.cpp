#include "training/adamw.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <string>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

void copy_into(at::Tensor& target, const nn::StateDict& state, const std::string& name) {
  const auto found = state.find(name);
  if (found == state.end() || found->second.sizes() != target.sizes())
    throw Error(ErrorCode::kInvalidBundle,
                "the optimiser's state does not fit what is trained: " + name +
                    (found == state.end() ? " is missing" : " has another shape"));
  target.copy_(found->second);
}

}  // namespace

AdamW::AdamW(std::vector<ParameterGroup> groups, const Options& options)
    : groups_(std::move(groups)), options_(options) {
  for (const ParameterGroup& group : groups_) {
    std::vector<Moments>& moments = moments_.emplace_back();
    for (const auto& [name, parameter] : group.parameters)
      moments.push_back({at::zeros_like(parameter), at::zeros_like(parameter),
                         at::zeros({}, parameter.options().dtype(at::kFloat))});
  }
}

void AdamW::zero_gradients() {
  for (ParameterGroup& group : groups_)
    for (NamedParameter& named : group.parameters) named.parameter.mutable_grad().reset();
}

double AdamW::clip_gradients(double max_norm) {
  const c10::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;  // read at once: a device is waited for once
  for (const ParameterGroup& group : groups_)
    for (const auto& [name, parameter] : group.parameters)
      if (parameter.grad().defined()) norms.push_back(parameter.grad().norm());
  const double norm = norms.empty() ? 0 : at::stack(norms).to(at::kDouble).norm().item<double>();
  if (max_norm > 0 && norm > max_norm) {
    for (ParameterGroup& group : groups_)
      for (NamedParameter& named : group.parameters)
        if (named.parameter.grad().defined())
          named.parameter.mutable_grad().mul_(max_norm / (norm + 1e-6));
  }
  return norm;
}

void AdamW::step(double rate_factor) {
  const c10::NoGradGuard no_grad;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const ParameterGroup& group = groups_[g];
    for (const bool decayed : {true, false}) {
      std::vector<at::Tensor> parameters, gradients, first, second, steps;
      for (std::size_t p = 0; p < group.parameters.size(); ++p) {
        const at::Tensor& parameter = group.parameters[p].parameter;
        if (is_decayed(parameter) != decayed || !parameter.grad().defined()) continue;
        Moments& moments = moments_[g][p];
        moments.steps.add_(1);
        parameters.push_back(parameter);
        gradients.push_back(parameter.grad());
        first.push_back(moments.first);
        second.push_back(moments.second);
        steps.push_back(moments.steps);
      }
      if (parameters.empty()) continue;
      at::_fused_adamw_(parameters, gradients, first, second, {}, steps,
                        group.learning_rate * rate_factor, options_.beta1, options_.beta2,
                        decayed ? group.weight_decay : 0.0, options_.epsilon, /*amsgrad=*/false,
                        /*maximize=*/false);
    }
  }
}

nn::StateDict AdamW::state() const {
  nn::StateDict state;
  for (std::size_t g = 0; g < groups_.size(); ++g)
    for (std::size_t p = 0; p < groups_[g].parameters.size(); ++p) {
      const std::string& name = groups_[g].parameters[p].name;
      const Moments& moments = moments_[g][p];
      state.emplace("first." + name, moments.first);
      state.emplace("second." + name, moments.second);
      state.emplace("steps." + name, moments.steps);
    }
  return state;
}

void AdamW::load_state(const nn::StateDict& state) {
  const c10::NoGradGuard no_grad;
  for (std::size_t g = 0; g < groups_.size(); ++g)
    for (std::size_t p = 0; p < groups_[g].parameters.size(); ++p) {
      const std::string& name = groups_[g].parameters[p].name;
      Moments& moments = moments_[g][p];
      copy_into(moments.first, state, "first." + name);
      copy_into(moments.second, state, "second." + name);
      copy_into(moments.steps, state, "steps." + name);
    }
}

}  // namespace bifocal::training
