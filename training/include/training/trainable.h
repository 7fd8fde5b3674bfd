#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nn/weights.h"
#include "training/parameter_group.h"
#include "training/process_group.h"
#include "training/random.h"

namespace bifocal::training {

using Metrics = std::map<std::string, double, std::less<>>;  // by name: "rsum", "loss_match"

// What one forward pass is given.
struct Batch {
  std::vector<std::size_t> samples;     // this rank's, as indices into the training set
  std::int64_t number = 0;              // of all batches of the run, from 0
  std::int64_t epoch = 0;               // from 0
  std::uint64_t seed = 0;               // of the run
  std::vector<std::size_t> whole;       // all ranks' in their order, the same on each
  const ProcessGroup* group = nullptr;  // who shares the batch

  // The random numbers of one sample in one epoch, whoever draws them and on whatever thread.
  Random random_of(std::size_t sample) const noexcept {
    return Random(seed ^ 0x73616d706c650000u,
                  (static_cast<std::uint64_t>(epoch) << 40) ^ static_cast<std::uint64_t>(sample));
  }
  // Those of the batch as a whole.
  Random random() const noexcept {
    return Random(seed ^ 0x6261746368000000u, static_cast<std::uint64_t>(number));
  }
};

struct Loss {
  at::Tensor total;  // []: what is differentiated
  Metrics parts;     // its terms, to look at
};

// Something that train() can train: modules, their data and what is asked of them. Used by one
// thread; every order (of groups, parameters, samples) is the same on every construction from the
// same settings, which is what a resumed run rests on.
class Trainable {
 public:
  virtual ~Trainable() = default;

  // The parameters to train, each in one group.
  virtual std::vector<ParameterGroup> parameter_groups() = 0;
  // Every tensor that training changes, by name, sharing the modules' memory: the parameters of all
  // groups, and where it is overridden buffers too, such as batch-norm statistics. What checkpoints
  // and results hold.
  virtual nn::StateDict state() {
    nn::StateDict state;
    for (const ParameterGroup& group : parameter_groups())
      for (const auto& [name, parameter] : group.parameters) state.emplace(name, parameter);
    return state;
  }
  // Brings all that state() names to a device, and whatever else loss() and evaluate() compute
  // with. Before parameter_groups() is asked for what is trained there: the tensors stay the same,
  // their memory does not. Data stays where it is, and what a batch needs of it follows.
  virtual void move_to(const at::Device& device) = 0;
  // Dropout and batch-norm statistics on or off.
  virtual void set_training(bool training) = 0;

  virtual std::size_t sample_count() const = 0;
  // How a message names a sample: the record's id.
  virtual std::string sample_id(std::size_t sample) const = 0;

  // Called some batches ahead, so that images are decoded while the present batch trains.
  virtual void prepare(const Batch& /*upcoming*/) {}
  // With autograd, in training mode. ATen's own generator (dropout) is already seeded by the batch.
  // Of this rank's samples; the mean over the ranks is the loss of the whole batch.
  virtual Loss loss(const Batch& batch) = 0;
  // After the optimiser's step: what must be clamped.
  virtual void after_step() {}
  // On the validation set, without autograd, not in training mode. Empty: there is none.
  virtual Metrics evaluate() = 0;
};

}  // namespace bifocal::training
