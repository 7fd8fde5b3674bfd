#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/fusion_model.h"
#include "training/evaluation/retrieval.h"
#include "training/records.h"
#include "vision/codec.h"

namespace bifocal::training {

// What the towers give for images, and each image's own vector. Tensors are float32 on the CPU.
struct EncodedImages {
  vision::VisionOutput features;  // tokens [N, T, C], pooled [N, C]
  at::Tensor vectors;             // [N, e], L2 norm 1
};

// The same of texts: only their valid tokens, one text after the other.
struct EncodedTexts {
  at::Tensor tokens;                 // [sum of lengths, H]
  std::vector<std::int64_t> begins;  // [N + 1]: text i has the tokens [begins[i], begins[i + 1])
  at::Tensor pooled;                 // [N, H]
  at::Tensor vectors;                // [N, e]
  std::size_t cut = 0;               // texts that were longer than the model reads

  std::size_t size() const noexcept { return begins.size() - 1; }
};

inline constexpr auto kAbsent = static_cast<std::size_t>(-1);
struct ImageTextPair {
  std::size_t image = kAbsent, text = kAbsent;  // rows of EncodedImages and EncodedTexts
};
struct FusedPairs {
  at::Tensor vectors;         // [P, e]: the fused vectors; undefined where not asked for
  std::vector<float> logits;  // [P]: of the match head; empty where not asked for
};

// Runs a bundle over whole data sets: each image and text through its tower once, pairs of them
// through the fusion layer. One thread a core by default. Memory: 4 (T C + C + e) bytes an image
// (0.25 MB with Lite0), 4 H bytes a token. Thread-safe; the results do not depend on the number of
// threads.
class SetEncoder {
 public:
  // `progress(done, total)`, if any, is called from one thread at a time; where it returns false
  // the call under way throws Error(kCancelled).
  using Progress = std::function<bool(std::size_t done, std::size_t total)>;
  explicit SetEncoder(const models::FusionModel& model, int threads = 0, Progress progress = {})
      : model_(model), threads_(threads), progress_(std::move(progress)) {}

  // Of every record with an image, in order; `records` loses those whose image cannot be read or
  // decoded, and lists them in skipped(). Throws Error(kNumerical) where a vector is not finite.
  EncodedImages encode_images(RecordSet& records, const vision::DecodeLimits& limits = {}) const;
  // Throws Error: kInvalidText, kNumerical.
  EncodedTexts encode_texts(const std::vector<std::string>& texts) const;

  struct Wanted {
    bool vectors = false;
    bool logits = false;
  };
  FusedPairs fuse(const EncodedImages& images, const EncodedTexts& texts,
                  std::span<const ImageTextPair> pairs, Wanted wanted) const;
  // Class logits [P, C] of a label set; here a side of an item may be kAbsent, not both.
  at::Tensor classify(const EncodedImages& images, const EncodedTexts& texts,
                      std::span<const ImageTextPair> items, std::size_t label_set) const;

  const models::FusionModel& model() const noexcept { return model_; }

 private:
  void in_batches(std::size_t count, std::size_t batch,
                  const std::function<void(std::size_t begin, std::size_t end)>& run) const;

  const models::FusionModel& model_;
  int threads_;
  Progress progress_;
};

// [N, columns] of a contiguous float32 tensor.
MatrixView as_matrix(const at::Tensor& tensor);

}  // namespace bifocal::training
