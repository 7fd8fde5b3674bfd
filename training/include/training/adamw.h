#pragma once

#include <cstdint>
#include <vector>

#include "nn/weights.h"
#include "training/parameter_group.h"

namespace bifocal::training {

// Adam with decoupled weight decay (Loshchilov and Hutter 2019), over groups with rates of their
// own. Moments are float32. Not thread-safe.
class AdamW {
 public:
  struct Options {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
  };

  AdamW(std::vector<ParameterGroup> groups, const Options& options);

  void zero_gradients();
  // Scales all gradients together so that their global L2 norm is at most `max_norm` (0: leaves
  // them), and returns the norm that they had.
  double clip_gradients(double max_norm);
  // One step at `rate_factor` times each group's rate. A parameter without a gradient stays as it
  // is.
  void step(double rate_factor);

  const std::vector<ParameterGroup>& groups() const noexcept { return groups_; }

  // "first.NAME", "second.NAME" and "steps.NAME" of every parameter, to save and to go on from.
  // load_state() throws Error(kInvalidBundle) where a name or a shape does not fit.
  nn::StateDict state() const;
  void load_state(const nn::StateDict& state);

 private:
  struct Moments {
    at::Tensor first, second;  // of the parameter's shape
    at::Tensor steps;          // []: how many it has taken
  };

  std::vector<ParameterGroup> groups_;
  std::vector<std::vector<Moments>> moments_;  // [group][parameter]
  Options options_;
};

}  // namespace bifocal::training
