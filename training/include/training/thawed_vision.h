#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "training/feature_cache.h"
#include "training/parameter_group.h"
#include "training/retrieval_loss.h"
#include "vision/efficientnet.h"

namespace bifocal::training {

// A copy of `tower`, without its classifier and with another drop-connect rate: what is thawed.
vision::EfficientNet thawed_copy(const vision::EfficientNet& tower, double drop_connect);

// The parameters of a vision tower, a group for the stem, each block and the head: the top one at
// `learning_rate`, each below at `layer_decay` times the rate above. Those of the lowest
// `frozen_stages` stages and of the stem are in none of them, unless it is 0, and need no gradient
// any more.
std::vector<ParameterGroup> vision_groups(vision::EfficientNetImpl& tower, double learning_rate,
                                          double layer_decay, double weight_decay,
                                          std::int64_t frozen_stages);

// Dropout, drop-connect and, if `live_batch_norm`, the batch norms of what is not frozen.
void set_vision_training(vision::EfficientNetImpl& tower, bool training, bool live_batch_norm,
                         std::int64_t frozen_stages);

// The image side of a model in training whose lower stages are frozen and ran once:
// encode_images().
class UpperStages {
 public:
  // All stages are frozen.
  UpperStages() = default;
  // Those above the first `frozen`, at least one, and the head are trained: with weights of their
  // own, batch norms as they come.
  UpperStages(const vision::EfficientNet& tower, std::size_t frozen, double drop_connect);

  // rows, views [B] int64, on the CPU: of which pictures which view. All cells, float32, on
  // `device`, which is where the stages are, if there are any.
  ImageStates forward(const ImageFeatures& features, const at::Tensor& rows,
                      const at::Tensor& views, const at::Device& device = at::kCPU) const;

  bool empty() const noexcept { return !tower_; }
  const vision::EfficientNet& tower() const noexcept { return tower_; }  // whole
  // As vision_groups(); none where all are frozen.
  std::vector<ParameterGroup> parameter_groups(double learning_rate, double layer_decay,
                                               double weight_decay);
  void move_to(const at::Device& device);
  void set_training(bool training);

 private:
  vision::EfficientNet tower_{nullptr};
  std::size_t frozen_ = 0, blocks_ = 0;
};

}  // namespace bifocal::training
