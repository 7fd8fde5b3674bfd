#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "text/bert.h"
#include "text/tokenizer.h"
#include "training/augmentation.h"
#include "training/records.h"
#include "vision/efficientnet.h"
#include "vision/preprocess.h"

namespace bifocal::training {

// What frozen towers gave for a data set, computed once and kept on disk: bfloat16, memory-mapped,
// in a directory named after a SHA-256 of all that it was made from: the tower's weights and
// config, preprocessing, views, and every image's or text's bytes. Another of these is another
// directory; one that is damaged or was left unfinished is made again.

struct EncodingOptions {
  std::filesystem::path cache;  // where the directories are
  std::size_t threads = 1;      // encoding threads, of one core each
  std::function<void(std::size_t done, std::size_t all)>
      progress;                       // called by one thread at a time
  std::function<bool()> interrupted;  // true: Error(kCancelled)
};

// What each picture is shown as: as when serving, then mirrored, then as often as `augmented` says
// with all of `augmentation`, drawn from `seed` and the picture's place.
struct ImageViews {
  bool mirrored = false;
  std::int64_t augmented = 0;
  Augmentation augmentation = {};
  std::uint64_t seed = 0;

  std::int64_t count() const noexcept { return 1 + (mirrored ? 1 : 0) + augmented; }
};

struct ImageFeatures {
  at::Tensor tokens;  // [N, views, h * w, C] bf16; undefined where stages are to be trained
  at::Tensor map;     // [N, views, h', w', c] bf16: after the frozen stages; else undefined
  at::Tensor pooled;  // [N, views, C] float32
  std::int64_t grid_height = 0, grid_width = 0;  // h, w
  std::vector<Skipped> skipped;                  // images that could not be decoded
  std::vector<std::size_t> records;              // [N]: whose features row i has
};

// Of the images of `records`, the tower's first `frozen_stages` stages being frozen: its tokens if
// that is all of them, the map that the others begin with if not. Throws Error: kIo, kCancelled,
// kInvalidItem where no image is left.
ImageFeatures encode_images(const RecordSet& records, const vision::EfficientNet& tower,
                            const vision::Preprocess& preprocess, const ImageViews& views,
                            std::size_t frozen_stages, const EncodingOptions& options);

struct CaptionFeatures {
  at::Tensor hidden;   // [M, L, H] bf16: after the tower's first `layers` layers; zeros at padding
  at::Tensor lengths;  // [M] int64: tokens of each
  at::Tensor pooled;   // [M, H] float32: after all layers

  // Of some of the texts, rows [B] int64: the tokens of the longest; their first `length` tokens,
  // [B, length, H] float32; and which of those are no padding, [B, length] bool.
  std::int64_t longest(const at::Tensor& rows) const;
  at::Tensor tokens(const at::Tensor& rows, std::int64_t length, const at::Device& device) const;
  at::Tensor valid(const at::Tensor& rows, std::int64_t length, const at::Device& device) const;
};

// Of all texts of `records`, in order, cut at `max_tokens`. Throws as encode_images().
CaptionFeatures encode_captions(const std::vector<std::string>& texts, const text::Bert& tower,
                                const text::Tokenizer& tokenizer, std::int64_t layers,
                                std::int64_t max_tokens, const EncodingOptions& options);

// [texts, H] float32: their pooled vectors alone, not kept on disk. Throws as encode_images().
at::Tensor pooled_captions(const std::vector<std::string>& texts, const text::Bert& tower,
                           const text::Tokenizer& tokenizer, const EncodingOptions& options);

// The layers of `tower` from `first` on, as modules of their own, with weights of their own.
// Names: "layers.N.…" as in the tower.
class UpperLayersImpl : public torch::nn::Module {
 public:
  UpperLayersImpl(const text::Bert& tower, std::int64_t first);

  // hidden [B, L, H] after the layers below, valid [B, L] -> last hidden states [B, L, H].
  at::Tensor forward(const at::Tensor& hidden, const at::Tensor& valid) const;
  std::int64_t first() const noexcept { return first_; }

 private:
  std::int64_t first_;
  std::vector<nn::EncoderLayer> layers_;
};
TORCH_MODULE(UpperLayers);

}  // namespace bifocal::training
