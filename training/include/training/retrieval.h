#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "nn/pooling.h"
#include "training/contrast_texts.h"
#include "training/feature_cache.h"
#include "training/records.h"
#include "training/retrieval_loss.h"
#include "training/teacher.h"
#include "training/thawed_vision.h"
#include "training/trainable.h"

namespace bifocal::training {

// Image-caption pairs as the frozen towers see them.
struct PairFeatures {
  ImageFeatures images;            // [N, ...]
  CaptionFeatures captions;        // [M, ...], image by image
  std::vector<std::size_t> first;  // [N + 1]: captions first[i] to first[i + 1] are image i's
  std::vector<std::string> ids;    // [N]
  TeacherVectors teacher;          // of the training set, where there is a teacher
  ContrastTexts contrasts;         // likewise, where they are learned from

  std::size_t size() const noexcept { return ids.size(); }
};

// Retrieval and matching of a validation set, in percent: "image_to_text_r1" (5, 10),
// "text_to_image_r1"..., "rsum" (the sum of the six); with the other captions as gallery,
// "fused_r1" (asked with image and first caption together) and "mean_r1" (with the mean of their
// vectors); "match_accuracy" (true against another caption, the head's sign) and "cosine_accuracy"
// (the same by the best threshold on the cosine).
struct RetrievalVectors {
  at::Tensor image, text, fused;       // [N, e], [M, e], [N, e]
  at::Tensor true_match, false_match;  // [N]: logits with the first caption, and another image's
  at::Tensor true_cosine, false_cosine;
};
Metrics retrieval_metrics(const RetrievalVectors& vectors, const std::vector<std::size_t>& first);

// The row of each image's first caption.
std::vector<std::int64_t> first_captions(const PairFeatures& pairs);

// The fusion layer, and the text layers and vision stages that are trained along.
struct RetrievalModel {
  fusion::FusionTransformer fusion{nullptr};
  UpperLayers text{nullptr};
  nn::Pooling pooling = nn::Pooling::kMean;
  UpperStages vision;

  void move_to(const at::Device& device);
  at::Device device() const { return nn::device_of(*fusion); }
};

// Stage 1: the pooled heads alone, InfoNCE of each image with two of its captions, and the
// divergence from the teacher and the double differences of contrasts where `train` has them.
class PooledHeads : public Trainable {
 public:
  struct Options {
    double learning_rate = 1e-3, weight_decay = 0.1;
    std::size_t pairs_per_image = 2;
    double contrast_weight = 0;
    TeacherWeights teacher;
  };
  PooledHeads(RetrievalModel model, const PairFeatures& train, const PairFeatures& validation,
              const Options& options);

  std::vector<ParameterGroup> parameter_groups() override;
  void move_to(const at::Device& device) override { model_.move_to(device); }
  void set_training(bool training) override;
  std::size_t sample_count() const override { return train_.size(); }
  std::string sample_id(std::size_t sample) const override { return train_.ids[sample]; }
  Loss loss(const Batch& batch) override;
  void after_step() override;
  Metrics evaluate() override;

 private:
  RetrievalModel model_;
  const PairFeatures& train_;
  const PairFeatures& validation_;
  Options options_;
};

// Stage 2: the whole fusion layer, the pooled heads, the upper text layers and vision stages.
class FusionRetrieval : public Trainable {
 public:
  struct Options {
    double learning_rate = 1e-3, heads_learning_rate = 3e-4, gains_learning_rate = 1e-2;
    double text_learning_rate = 1e-4, text_layer_decay = 0.8;
    double vision_learning_rate = 1e-4, vision_layer_decay = 0.8;
    double weight_decay = 0.1;
    std::int64_t visual_tokens = 25;
    std::int64_t match_pairs = 256;
    std::size_t pairs_per_image = 2;
    RetrievalWeights weights;
  };
  FusionRetrieval(RetrievalModel model, const PairFeatures& train, const PairFeatures& validation,
                  const Options& options);

  // The match head's scale and threshold, fitted to the cosines of true and false training pairs by
  // logistic regression: where its training starts.
  void begin_match_with_cosine();
  // The projections of tokens standardised over training images and captions, and their late
  // interaction heard in the match logit.
  void begin_late_interaction();
  // Its logits, scaled and shifted to fit validation pairs of which every second is true: it was
  // trained on false pairs that are harder than any, and so doubts the true ones.
  void calibrate_match();
  // The mixing weights and the gain of a query of image and caption, fitted to finding the other
  // captions in the validation set: of the training set's images the towers know too much, so that
  // training weighs the image more than it deserves elsewhere.
  void calibrate_fused();

  std::vector<ParameterGroup> parameter_groups() override;
  void move_to(const at::Device& device) override { model_.move_to(device); }
  void set_training(bool training) override;
  std::size_t sample_count() const override { return train_.size(); }
  std::string sample_id(std::size_t sample) const override { return train_.ids[sample]; }
  Loss loss(const Batch& batch) override;
  void after_step() override;
  Metrics evaluate() override;

 private:
  static constexpr std::int64_t kEvaluatedTogether = 64;  // images or captions

  // Padded to the longest of them, or to `padded` tokens where that is more.
  CaptionStates captions(const CaptionFeatures& texts, const std::vector<std::int64_t>& rows,
                         std::int64_t padded = 0) const;
  ShownContrasts show_contrasts(const Batch& batch, const ImageStates& images) const;
  // As when serving.
  ImageStates plain_images(const PairFeatures& pairs, const std::vector<std::int64_t>& rows) const;

  RetrievalModel model_;
  const PairFeatures& train_;
  const PairFeatures& validation_;
  Options options_;
};

}  // namespace bifocal::training
