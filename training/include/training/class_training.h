#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "training/class_examples.h"
#include "training/class_loss.h"
#include "training/class_metrics.h"
#include "training/trainable.h"

namespace bifocal::training {

// A fusion layer and which of its label sets is trained. The class head reads the fusion token's
// context and both pooled vectors; as long as nothing but the head is trained the context is shown
// as zeros, so that its weights stay zero.
struct ClassModel {
  fusion::FusionTransformer fusion{nullptr};
  std::size_t label_set = 0;

  const fusion::LabelSet& labels() const { return fusion->config().label_sets[label_set]; }
  bool is_head(const std::string& parameter) const;  // by its name: of the class head
  // Logits [B, K] of pooled vectors alone, [B, C] and [B, H]; a side may be undefined.
  at::Tensor pooled_logits(const at::Tensor& image, const at::Tensor& text) const;
};

// Trains on the features of frozen towers: the class head alone, or the fusion layer with it.
class ClassTraining : public Trainable {
 public:
  struct Options {
    bool through_fusion = false;
    double learning_rate = 1e-3;         // of the head
    double fusion_learning_rate = 1e-3;  // of the rest
    double weight_decay = 0.1;
    double modality_dropout = 0.0;  // of records with both sides: one of them, drawn, is not shown
    double token_dropout = 0.0;     // of the tokens of each text
    ClassLoss loss;
  };
  ClassTraining(ClassModel model, const ClassExamples& train, const ClassExamples& validation,
                const Options& options)
      : model_(std::move(model)), train_(train), validation_(validation), options_(options) {}

  std::vector<ParameterGroup> parameter_groups() override;
  void move_to(const at::Device& device) override { model_.fusion->to(device); }
  void set_training(bool training) override { model_.fusion->train(training); }
  std::size_t sample_count() const override { return train_.size(); }
  std::string sample_id(std::size_t sample) const override { return train_.records[sample].id; }
  Loss loss(const Batch& batch) override;
  Metrics evaluate() override;

  // Of the validation set.
  std::vector<ClassSide> validation_sides() const;

 private:
  at::Tensor logits(const ClassExamples& examples, const Shown& shown,
                    const std::vector<std::int64_t>& views, std::vector<Random>* randoms) const;

  ClassModel model_;
  const ClassExamples& train_;
  const ClassExamples& validation_;
  Options options_;
};

// Which sides of a sample are shown in training: both, or one of them by `modality_dropout`.
void drop_modality(Shown& shown, std::size_t position, double modality_dropout, Random& random);

}  // namespace bifocal::training
