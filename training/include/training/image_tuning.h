#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "training/class_training.h"
#include "training/image_loader.h"
#include "training/mixing.h"
#include "training/thawed_vision.h"
#include "vision/efficientnet.h"

namespace bifocal::training {

// Trains the vision tower and the class head on augmented pictures; texts as the frozen tower gave
// them.
class ImageTuning : public Trainable {
 public:
  struct Options {
    double learning_rate = 1e-3;           // of the head
    double backbone_learning_rate = 1e-4;  // of the tower's top
    double layer_decay = 0.8;
    double weight_decay = 1e-4;
    std::int64_t frozen_stages = 0;
    bool live_batch_norm = false;
    double modality_dropout = 0.0;
    Mixing mixing;  // a batch that is mixed is shown without its texts
    Augmentation augmentation;
    std::size_t threads = 1;  // that decode
    ClassLoss loss;
  };
  // Of `train`, the examples with an image.
  ImageTuning(ClassModel model, vision::EfficientNet vision, const vision::Preprocess& preprocess,
              const ClassExamples& train, const ClassExamples& validation, const Options& options);

  std::vector<ParameterGroup> parameter_groups() override;
  void move_to(const at::Device& device) override;
  nn::StateDict state() override;
  void set_training(bool training) override;
  std::size_t sample_count() const override { return pictured_.size(); }
  std::string sample_id(std::size_t sample) const override { return train_pictures_[sample].id; }
  void prepare(const Batch& upcoming) override { loader_.prepare(upcoming); }
  Loss loss(const Batch& batch) override;
  Metrics evaluate() override;

  // Of the validation set.
  std::vector<ClassSide> validation_sides();

 private:
  // [B, K]: of rows of pooled images and texts.
  at::Tensor logits(const Shown& shown, const at::Tensor& images, const at::Tensor& texts) const;

  ClassModel model_;
  vision::EfficientNet vision_;
  vision::Preprocess preprocess_;
  const ClassExamples& train_;
  const ClassExamples& validation_;
  Options options_;
  std::vector<std::size_t> pictured_;  // [samples]: the example
  RecordSet train_pictures_, validation_pictures_;
  ImageLoader loader_;
};

}  // namespace bifocal::training
