#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"
#include "training/feature_cache.h"
#include "training/records.h"
#include "vision/codec.h"
#include "vision/preprocess.h"

namespace bifocal::training {

// What every encoding of a data set by frozen models is made of.

// Calls `work` with 0 to count - 1 from options.threads threads, each under InferenceMode; each
// call counts for `weight` of the `total` that progress is reported of. The first exception ends
// all of them and is thrown on.
void share_out(std::size_t count, const EncodingOptions& options, std::size_t weight,
               std::size_t total, const std::function<void(std::size_t)>& work);

// [views, 3, H, W] of picture number `place`.
at::Tensor views_of(const vision::Image& picture, const vision::Preprocess& preprocess,
                    const ImageViews& views, std::size_t place);

// What of a cache's `made_from` says which views of which pictures are in it.
void describe_views(const ImageViews& views, nlohmann::json& made_from);
// SHA-256 over the bytes of the images of `rows`.
std::string digest_of_images(const RecordSet& records, const std::vector<std::size_t>& rows);

// Texts as token ids, cut at `max_tokens`.
struct TokenIds {
  std::vector<std::vector<std::int64_t>> ids;
  std::size_t longest = 0;
  std::string digest;  // SHA-256 over all of them

  // A part of some texts of one length, [B, L].
  at::Tensor batch(const std::vector<std::size_t>& texts) const;
};
TokenIds token_ids(const std::vector<std::string>& texts, const text::Tokenizer& tokenizer,
                   std::int64_t max_tokens);

// Texts of one length together, a few at a time: nothing is padded, and nothing computed in vain.
inline constexpr std::size_t kTextsTogether = 16;
std::vector<std::vector<std::size_t>> groups_of_one_length(const TokenIds& texts);

}  // namespace bifocal::training
