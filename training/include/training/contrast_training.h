#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "training/contrast_texts.h"
#include "training/feature_cache.h"
#include "training/thawed_vision.h"
#include "training/trainable.h"

namespace bifocal::training {

// Contrasts as the frozen towers, or frozen stages, see them.
struct ContrastFeatures {
  ImageFeatures images;          // [N, ...]
  ContrastTexts contrasts;       // of N records, after all layers of the text encoder
  std::vector<std::string> ids;  // [N]

  std::size_t size() const noexcept { return ids.size(); }
};

// Trains the match logit to tell the true text of a contrast from the false one:
//   0.5 (cross-entropy of the true + that of the false) + ranking * softplus(false - true),
// a sample being an image with some of its contrasts, so that both texts see the same picture. In
// the last phase the mean of two such losses: of the logit, and of the logit without its late
// interaction. What that knows already, such as which cell a word names, the encoder's layers would
// else have no reason to learn.
//
// With `double_difference` the loss is softplus(n - m) instead, m being the margin of the true text
// over the false one with the image, n the same with an image of which the false text holds, or any
// other where none is known. What the texts alone tell is in both, so that a bias of theirs is not
// learned; nor is where the logit lies, which calibrate() finds.
//
// Three phases, each from the weights of the one before:
//  - kPooledHeads: the towers' own vectors alone; the logit is a scaled cosine.
//  - kTokenProjections: the projections of single tokens, by late interaction: each token of a text
//    looks for the cells of the picture that are like it, and how like is added to the logit
//    (ColBERT, Khattab and Zaharia 2020; FILIP, Yao et al. 2022). No layer of the encoder takes
//    part: what is learned is where words and what they name have the same place.
//  - kFusion: the whole fusion layer, pooled heads and all, and the upper stages of the vision
//    encoder if there are any to train.
class ContrastTraining : public Trainable {
 public:
  enum class Phase { kPooledHeads, kTokenProjections, kFusion };
  struct Options {
    Phase phase = Phase::kFusion;
    double learning_rate = 1e-3, heads_learning_rate = 3e-4, gains_learning_rate = 1e-2;
    double vision_learning_rate = 1e-4, vision_layer_decay = 0.8;
    double weight_decay = 0.05;
    double ranking_weight = 0.5;
    std::size_t pairs_per_image = 2;
    bool double_difference = false;
    std::vector<std::string> curriculum;  // kinds in the order in which they join
    double curriculum_epochs = 0;         // over which they do
  };
  // Throws Error: kInvalidArgument where the curriculum names a kind that there is not,
  // kInvalidItem where double differences are asked of a single image.
  ContrastTraining(fusion::FusionTransformer fusion, UpperStages vision,
                   const ContrastFeatures& train, const ContrastFeatures& validation,
                   Options options);

  std::vector<ParameterGroup> parameter_groups() override;
  void move_to(const at::Device& device) override;
  void set_training(bool training) override;
  std::size_t sample_count() const override { return train_.size(); }
  std::string sample_id(std::size_t sample) const override { return train_.ids[sample]; }
  Loss loss(const Batch& batch) override;
  // "all" and each kind: of how many contrasts, in percent, the true text has the higher logit; a
  // tie counts half.
  Metrics evaluate() override;

  // The match logit scaled and shifted to fit the texts of the validation set.
  void calibrate();

  // The kinds, by number in train, that are shown in an epoch. Ascending.
  std::vector<std::size_t> kinds_at(std::int64_t epoch) const;

 private:
  struct Logits {               // [P]: of each image row with the text row beside it
    at::Tensor whole;           // the match logit
    at::Tensor without_tokens;  // without its late interaction; undefined but in the last phase
  };
  // Where m and n come from: rows of the images and texts of all pairs of a batch.
  struct Shown {
    std::vector<std::int64_t> images, partners, true_texts, false_texts;  // [P]
  };
  Shown show(const Batch& batch, const std::vector<std::size_t>& kinds) const;
  std::int64_t partner_of(const ContrastTexts::Pair& pair, Random& random) const;
  // Of the validation set: [pairs] each.
  std::pair<at::Tensor, at::Tensor> validation_logits() const;
  Logits logits(const ContrastFeatures& features, const std::vector<std::int64_t>& images,
                const std::vector<std::int64_t>& texts) const;
  at::Tensor cosine_logit(const at::Tensor& image_pooled, const at::Tensor& text_pooled) const;

  fusion::FusionTransformer fusion_;
  UpperStages vision_;
  const ContrastFeatures& train_;
  const ContrastFeatures& validation_;
  Options options_;
  std::vector<std::size_t> curriculum_;  // kinds of train
};

}  // namespace bifocal::training
