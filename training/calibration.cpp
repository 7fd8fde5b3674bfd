#include "calibration.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "nn/weights.h"
#include "training/adamw.h"

namespace bifocal::training {

Logistic fit_logistic(const at::Tensor& yes, const at::Tensor& no) {
  const at::Tensor x = at::cat({yes, no}).to(at::kDouble);
  const at::Tensor y = at::cat({at::ones_like(yes), at::zeros_like(no)}).to(at::kDouble);
  Logistic fit;
  for (int step = 0; step < 25; ++step) {
    const at::Tensor p = (x * fit.scale + fit.bias).sigmoid();
    const at::Tensor error = p - y, curve = p * (1 - p);
    const double g0 = error.mean().item<double>(), g1 = (error * x).mean().item<double>();
    const double h00 = curve.mean().item<double>() + 1e-9;
    const double h01 = (curve * x).mean().item<double>();
    const double h11 = (curve * x * x).mean().item<double>() + 1e-9;
    const double determinant = h00 * h11 - h01 * h01;
    fit.bias -= (h11 * g0 - h01 * g1) / determinant;
    fit.scale -= (h00 * g1 - h01 * g0) / determinant;
  }
  return fit;
}

FusedMix fit_fused_mix(const FusedParts& queries, const at::Tensor& texts, const at::Tensor& owner,
                       const FusedMix& start) {
  constexpr int kSteps = 120;
  constexpr double kRate = 0.03, kInitialScale = 30;
  const std::vector<at::Tensor> parts = {queries.image, queries.text, queries.token};
  // A query's cosines are sums of these, over a norm that is one of those: no vector is made again.
  std::vector<at::Tensor> of_texts, of_parts;
  for (const at::Tensor& part : parts) {
    of_texts.push_back(at::matmul(part, texts.t()));  // [N, M]
    for (const at::Tensor& other : parts) of_parts.push_back((part * other).sum(1));
  }
  const at::Tensor products = at::stack(of_parts, 1).reshape({-1, 3, 3});  // [N, 3, 3]
  const at::Tensor is_other = owner.unsqueeze(0) != at::arange(products.size(0)).unsqueeze(1);
  const c10::AutoGradMode gradients(true);
  at::Tensor weights =
      at::tensor(std::vector<double>{start.image, start.text, start.token}, at::kFloat);
  at::Tensor log_scale = at::full({}, std::log(kInitialScale));
  weights.requires_grad_();
  log_scale.requires_grad_();
  AdamW optimizer({{"fused mix", {{"weights", weights}, {"log_scale", log_scale}}, kRate, 0.0}},
                  {});
  for (int step = 0; step < kSteps; ++step) {
    at::Tensor cosines = of_texts[0] * weights[0];
    for (std::size_t i = 1; i < of_texts.size(); ++i)
      cosines = cosines + of_texts[i] * weights[static_cast<std::int64_t>(i)];
    const at::Tensor norm = at::matmul(at::matmul(products, weights), weights).sqrt();  // [N]
    const at::Tensor logits = cosines / norm.unsqueeze(1) * log_scale.exp();
    const at::Tensor own = logits.masked_fill(is_other, -std::numeric_limits<float>::infinity());
    const at::Tensor loss = (at::logsumexp(logits, 1) - at::logsumexp(own, 1)).mean();
    optimizer.zero_gradients();
    loss.backward();
    optimizer.step(0.5 * (1 + std::cos(std::numbers::pi * step / kSteps)));
  }
  return {weights[0].item<double>(), weights[1].item<double>(), weights[2].item<double>()};
}

void scale_match(fusion::FusionTransformerImpl& fusion, const Logistic& by) {
  const c10::NoGradGuard no_grad;
  const nn::StateDict weights = nn::state_dict_of(fusion);
  for (const char* name :
       {"match_scale", "match_head.fc2.weight", "match_head.fc2.bias", "late_gain"})
    if (const auto found = weights.find(name); found != weights.end())
      at::Tensor(found->second).mul_(by.scale);
  at::Tensor(weights.at("match_head.fc2.bias")).add_(by.bias);
}

}  // namespace bifocal::training
