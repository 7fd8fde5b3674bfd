#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "training/adamw.h"
#include "training/evaluation/contrast_controls.h"
#include "training/random.h"

namespace bifocal::training {

// Pooled vectors of contrasts: image, true and false text, by row.
struct PooledContrasts {
  at::Tensor images, texts;                 // [N, C], [M, H]
  at::Tensor image, true_text, false_text;  // [P] int64
};

struct ControlKind {
  const char* name;
  bool sees_image, sees_text, is_two_towers;
};

// A small network on pooled vectors, all that a control of contrasts is.
class PooledControl {
 public:
  PooledControl(const ControlKind& kind, Random random, std::int64_t channels,
                std::int64_t text_size, const ControlOptions& options);

  // With the loss that trains the match head. Deterministic for a number of threads.
  void train(const PooledContrasts& data, const ControlOptions& options);
  // [P]: by how much the true text's score is higher.
  at::Tensor margins(const PooledContrasts& data) const;

 private:
  struct Layer {
    at::Tensor weight, bias;
  };
  at::Tensor add(const std::string& name, const at::Tensor& values);
  Layer add_layer(const std::string& name, std::int64_t in, std::int64_t out);
  at::Tensor logits(const at::Tensor& image, const at::Tensor& text) const;

  ControlKind kind_;
  Random random_;
  std::vector<NamedParameter> parameters_;
  Layer image_, text_, inner_, out_;
  at::Tensor scale_;
};

}  // namespace bifocal::training
