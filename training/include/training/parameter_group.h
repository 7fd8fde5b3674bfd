#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace bifocal::training {

struct NamedParameter {
  std::string name;      // as in the state that is saved
  at::Tensor parameter;  // a leaf that requires a gradient; shares the module's memory
};

// Parameters that are trained alike: a head, one layer of a tower.
struct ParameterGroup {
  std::string name;  // "pooled heads", "text layer 5"
  std::vector<NamedParameter> parameters;
  double learning_rate = 1e-3;  // at its peak; the schedule scales it
  double weight_decay = 0.0;    // of matrices and filters; vectors and scalars have none
};

// Norms, biases, gains and tokens are not decayed: whatever has fewer than two dimensions.
inline bool is_decayed(const at::Tensor& parameter) { return parameter.dim() >= 2; }

// By its name in the fusion layer: of the heads that give the towers' own vectors.
inline bool is_pooled_head(const std::string& name) {
  return name.starts_with("pooled_vision.") || name.starts_with("pooled_text.");
}

// Of the late interaction's two numbers.
inline bool is_late_gain(const std::string& name) {
  return name == "late_attention_scale" || name == "late_gain";
}

// Of the few numbers that weigh one part of an output against another.
inline bool is_gain(const std::string& name) {
  return is_late_gain(name) || name == "pooled_mix" || name == "residual_gain" ||
         name == "match_scale" || name == "logit_scale";
}

}  // namespace bifocal::training
