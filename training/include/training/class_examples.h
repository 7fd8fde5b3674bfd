#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/pooling.h"
#include "training/encoders.h"
#include "training/feature_cache.h"
#include "training/records.h"

namespace bifocal::training {

struct ClassLabels {
  std::vector<std::string> names;  // [K], sorted
  bool multi_label = false;
};
// Of the training set. Throws Error(kInvalidItem) where there are fewer than two (one, where a
// record may have several).
ClassLabels class_labels(const RecordSet& train);

inline constexpr std::int64_t kNotShown = -1;

// Records with labels, as the frozen towers see them.
struct ClassExamples {
  RecordSet records;                     // [N]
  at::Tensor targets;                    // [N, K] float32: 1 where the label holds
  ImageFeatures images;                  // undefined tensors where no record has an image
  std::vector<std::int64_t> image_row;   // [N]: of `images`, or kNotShown
  CaptionFeatures texts;                 // likewise; `hidden` is of the last layer
  std::vector<std::int64_t> first_text;  // [N + 1]: texts first_text[i] to [i + 1] are i's
  nn::Pooling pooling = nn::Pooling::kMean;
  std::vector<Skipped> skipped;

  std::size_t size() const noexcept { return image_row.size(); }
  bool has_image(std::size_t i) const { return image_row[i] != kNotShown; }
  bool has_text(std::size_t i) const { return first_text[i + 1] > first_text[i]; }
  std::vector<std::size_t> truth(std::size_t i) const;  // its labels
};

// The records of `all` that have labels of `labels` alone (exactly one, unless several may hold)
// and an image that decodes, or a text. Throws as encode_images() does, and Error(kInvalidItem)
// where nothing is left.
ClassExamples encode_examples(const RecordSet& all, const ClassLabels& labels,
                              const Encoders& encoders, const ImageViews& views,
                              std::int64_t max_text_tokens, const EncodingOptions& options);

// What of a batch is shown: rows of features, or kNotShown for a side that is not.
struct Shown {
  std::vector<std::int64_t> image, text;  // [B]
};

// Logits [B, K] of rows of which some lack a side: `logits_of` is called for the positions that
// have the same sides, and its rows put in the batch's order.
at::Tensor logits_by_sides(
    const Shown& shown,
    const std::function<at::Tensor(const std::vector<std::int64_t>& positions)>& logits_of);

// `rows` of `positions`, [n] int64.
at::Tensor rows_at(const std::vector<std::int64_t>& rows,
                   const std::vector<std::int64_t>& positions);

}  // namespace bifocal::training
