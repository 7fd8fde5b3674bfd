#include "encoding_steps.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/sha256.h"

namespace bifocal::training {

void share_out(std::size_t count, const EncodingOptions& options, std::size_t weight,
               std::size_t total, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0}, done{0};
  std::mutex guard;
  std::exception_ptr failure;
  const auto run = [&] {
    at::set_num_threads(1);  // of this thread
    const c10::InferenceMode inference;
    try {
      for (std::size_t i = next++; i < count; i = next++) {
        if (options.interrupted && options.interrupted())
          throw Error(ErrorCode::kCancelled, "interrupted while encoding; nothing was lost");
        work(i);
        const std::size_t finished = ++done;
        const std::lock_guard lock(guard);
        if (options.progress) options.progress(std::min(finished * weight, total), total);
      }
    } catch (...) {
      const std::lock_guard lock(guard);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < std::max<std::size_t>(options.threads, 1); ++t)
    threads.emplace_back(run);
  threads.clear();
  if (failure) std::rethrow_exception(failure);
}

at::Tensor views_of(const vision::Image& picture, const vision::Preprocess& preprocess,
                    const ImageViews& views, std::size_t place) {
  at::Tensor plain = at::empty({1, 3, preprocess.height, preprocess.width});
  const auto values = static_cast<std::size_t>(plain.numel());
  vision::preprocess_into(picture, preprocess, {plain.mutable_data_ptr<float>(), values});
  std::vector<at::Tensor> all{plain};
  if (views.mirrored) all.push_back(plain.flip(3));
  Random random(views.seed, place);
  for (std::int64_t i = 0; i < views.augmented; ++i) {
    at::Tensor drawn = at::empty({1, preprocess.height, preprocess.width, 3});
    augment_into(picture, views.augmentation, preprocess, random,
                 {drawn.mutable_data_ptr<float>(), values});
    all.push_back(drawn.permute({0, 3, 1, 2}));
  }
  return all.size() == 1 ? plain : at::cat(all);
}

void describe_views(const ImageViews& views, nlohmann::json& made_from) {
  made_from["views"] = views.mirrored ? "plain, flipped" : "plain";
  if (views.augmented > 0)
    made_from["augmented"] = {
        {"count", views.augmented}, {"by", to_json(views.augmentation)}, {"seed", views.seed}};
}

std::string digest_of_images(const RecordSet& records, const std::vector<std::size_t>& rows) {
  std::string hashes;
  for (const std::size_t i : rows) {
    std::string hash = "unreadable";
    try {
      hash = core::sha256_hex(records.read_image(i));
    } catch (const Error&) {  // said again, and listed, when it is encoded
    }
    hashes += hash + "\n";
  }
  return core::sha256_hex(core::as_bytes(hashes));
}

TokenIds token_ids(const std::vector<std::string>& texts, const text::Tokenizer& tokenizer,
                   std::int64_t max_tokens) {
  text::EncodeOptions cut;
  cut.max_tokens = static_cast<std::size_t>(max_tokens);
  TokenIds all;
  std::string written;
  for (const std::string& text : texts) {
    all.ids.push_back(tokenizer.encode(text, cut).ids);
    all.longest = std::max(all.longest, all.ids.back().size());
    for (const std::int64_t id : all.ids.back()) written += std::to_string(id) + " ";
    written += "\n";
  }
  all.digest = core::sha256_hex(core::as_bytes(written));
  return all;
}

at::Tensor TokenIds::batch(const std::vector<std::size_t>& texts) const {
  const auto rows = static_cast<std::int64_t>(texts.size());
  const auto length = static_cast<std::int64_t>(ids[texts.front()].size());
  at::Tensor batch = at::empty({rows, length}, at::kLong);  // [B, L]
  auto* place = batch.mutable_data_ptr<std::int64_t>();
  for (const std::size_t text : texts) place = std::copy(ids[text].begin(), ids[text].end(), place);
  return batch;
}

std::vector<std::vector<std::size_t>> groups_of_one_length(const TokenIds& texts) {
  const auto length = [&texts](std::size_t text) { return texts.ids[text].size(); };
  std::vector<std::size_t> order(texts.ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return length(a) < length(b); });
  std::vector<std::vector<std::size_t>> groups;
  for (const std::size_t text : order) {
    if (groups.empty() || groups.back().size() == kTextsTogether ||
        length(groups.back().front()) != length(text))
      groups.emplace_back();
    groups.back().push_back(text);
  }
  return groups;
}

}  // namespace bifocal::training
