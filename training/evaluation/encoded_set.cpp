#include "training/evaluation/encoded_set.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "bifocal/error.h"
#include "vision/preprocess.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kImageBatch = 8, kTextBatch = 32, kPairBatch = 32;

void require_finite(const at::Tensor& values) {
  if (!at::isfinite(values).all().item<bool>())
    throw Error(ErrorCode::kNumerical,
                "the model gave NaN or infinity; its weights may be damaged");
}

// Rows of `whole` that start at `begin`, to be written to.
void put_rows(const at::Tensor& whole, std::size_t begin, const at::Tensor& rows) {
  whole.narrow(0, static_cast<std::int64_t>(begin), rows.size(0)).copy_(rows);
}

// Token ids of some texts, padded to the longest.
struct IdBatch {
  at::Tensor ids, type_ids, valid;  // [B, L]
};
IdBatch pad_ids(std::span<const text::Encoding* const> encodings, std::int64_t pad_id) {
  std::size_t longest = 0;
  for (const text::Encoding* encoding : encodings)
    longest = std::max(longest, encoding->ids.size());
  const auto rows = static_cast<std::int64_t>(encodings.size());
  const auto length = static_cast<std::int64_t>(longest);
  IdBatch batch{at::full({rows, length}, pad_id, at::kLong), at::zeros({rows, length}, at::kLong),
                at::zeros({rows, length}, at::kBool)};
  for (std::int64_t row = 0; row < rows; ++row) {
    const text::Encoding& encoding = *encodings[static_cast<std::size_t>(row)];
    std::copy(encoding.ids.begin(), encoding.ids.end(),
              batch.ids.data_ptr<std::int64_t>() + row * length);
    std::copy(encoding.type_ids.begin(), encoding.type_ids.end(),
              batch.type_ids.data_ptr<std::int64_t>() + row * length);
    std::fill_n(batch.valid.data_ptr<bool>() + row * length, encoding.ids.size(), true);
  }
  return batch;
}

at::Tensor indices_of(std::span<const std::size_t> rows) {
  const at::Tensor indices = at::empty({static_cast<std::int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), indices.data_ptr<std::int64_t>());
  return indices;
}

vision::VisionOutput select(const EncodedImages& images, std::span<const std::size_t> rows) {
  const at::Tensor indices = indices_of(rows);
  vision::VisionOutput selected = images.features;
  selected.tokens = at::index_select(images.features.tokens, 0, indices);
  selected.pooled = at::index_select(images.features.pooled, 0, indices);
  return selected;
}

models::TextFeatures select(const EncodedTexts& texts, std::span<const std::size_t> rows) {
  const std::int64_t hidden = texts.tokens.size(1);
  std::int64_t longest = 0;
  for (const std::size_t row : rows)
    longest = std::max(longest, texts.begins[row + 1] - texts.begins[row]);
  const auto count = static_cast<std::int64_t>(rows.size());
  models::TextFeatures selected;
  selected.tokens = at::zeros({count, longest, hidden}, at::kFloat);  // [B, L, H]
  selected.valid = at::zeros({count, longest}, at::kBool);            // [B, L]
  selected.pooled = at::index_select(texts.pooled, 0, indices_of(rows));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::size_t row = rows[static_cast<std::size_t>(i)];
    const std::int64_t length = texts.begins[row + 1] - texts.begins[row];
    std::memcpy(selected.tokens.data_ptr<float>() + i * longest * hidden,
                texts.tokens.const_data_ptr<float>() + texts.begins[row] * hidden,
                static_cast<std::size_t>(length * hidden) * sizeof(float));
    std::fill_n(selected.valid.data_ptr<bool>() + i * longest, length, true);
  }
  return selected;
}

std::vector<std::size_t> range(std::size_t begin, std::size_t end) {
  std::vector<std::size_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

}  // namespace

MatrixView as_matrix(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.size(0)),
          static_cast<std::size_t>(tensor.size(1))};
}

void SetEncoder::in_batches(
    std::size_t count, std::size_t batch,
    const std::function<void(std::size_t begin, std::size_t end)>& run) const {
  std::atomic<std::size_t> next{0};
  std::size_t done = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    at::set_num_threads(1);  // of this thread's own operators
    const c10::InferenceMode guard;
    for (;;) {
      const std::size_t begin = next.fetch_add(batch);
      if (begin >= count) return;
      const std::size_t end = std::min(begin + batch, count);
      try {
        run(begin, end);
        const std::lock_guard lock(mutex);
        done += end - begin;
        if (progress_ && !progress_(done, count))
          throw Error(ErrorCode::kCancelled, "the evaluation was interrupted");
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  const std::size_t wanted =
      threads_ > 0 ? static_cast<std::size_t>(threads_) : std::thread::hardware_concurrency();
  std::vector<std::jthread> threads(std::clamp<std::size_t>(wanted, 1, count / batch + 1));
  for (std::jthread& thread : threads) thread = std::jthread(work);
  threads.clear();  // joins
  if (failure) std::rethrow_exception(failure);
}

EncodedImages SetEncoder::encode_images(RecordSet& records,
                                        const vision::DecodeLimits& limits) const {
  const c10::InferenceMode guard;
  const vision::Preprocess& preprocess = model_.preprocess();
  const auto pixels_of_one = static_cast<std::size_t>(3 * preprocess.height * preprocess.width);
  const std::size_t count = records.size();
  std::vector<std::string> problems(count);
  EncodedImages encoded;
  std::mutex first_batch;
  // The sizes of the features are known once a batch went through.
  const auto make_room = [&](const vision::VisionOutput& features, const at::Tensor& vectors) {
    const std::lock_guard lock(first_batch);
    if (encoded.vectors.defined()) return;
    const auto rows = static_cast<std::int64_t>(count);
    encoded.features = features;
    encoded.features.tokens =
        at::empty({rows, features.tokens.size(1), features.tokens.size(2)}, at::kFloat);
    encoded.features.pooled = at::empty({rows, features.pooled.size(1)}, at::kFloat);
    encoded.vectors = at::empty({rows, vectors.size(1)}, at::kFloat);
  };
  in_batches(count, kImageBatch, [&](std::size_t begin, std::size_t end) {
    const auto rows = static_cast<std::int64_t>(end - begin);
    // A record that cannot be decoded keeps a black picture in the batch until it is taken out.
    const at::Tensor pixels =
        at::zeros({rows, 3, preprocess.height, preprocess.width}, at::kFloat);  // [B, 3, H, W]
    for (std::size_t i = begin; i < end; ++i) {
      try {
        const vision::Image image = vision::decode(records.read_image(i), limits);
        vision::preprocess_into(
            image, preprocess,
            {pixels.data_ptr<float>() + (i - begin) * pixels_of_one, pixels_of_one});
      } catch (const Error& error) {
        problems[i] = error.what();
      }
    }
    const vision::VisionOutput features = model_.encode_images(pixels);
    const at::Tensor vectors = model_.fuse(&features, nullptr).embedding;
    require_finite(vectors);
    make_room(features, vectors);
    put_rows(encoded.features.tokens, begin, features.tokens);
    put_rows(encoded.features.pooled, begin, features.pooled);
    put_rows(encoded.vectors, begin, vectors);
  });

  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < count; ++i)
    if (problems[i].empty()) kept.push_back(i);
  if (kept.size() == count) return encoded;
  RecordSet left = records.subset(kept);
  for (const Skipped& skipped : records.skipped()) left.skip(skipped.where, skipped.reason);
  for (std::size_t i = 0; i < count; ++i)
    if (!problems[i].empty()) left.skip(records[i].id, problems[i]);
  records = std::move(left);
  encoded.features = select(encoded, kept);
  encoded.vectors = at::index_select(encoded.vectors, 0, indices_of(kept));
  return encoded;
}

EncodedTexts SetEncoder::encode_texts(const std::vector<std::string>& texts) const {
  const c10::InferenceMode guard;
  const std::size_t count = texts.size();
  const auto max_tokens = static_cast<std::size_t>(model_.max_tokens());
  std::vector<text::Encoding> encodings(count);
  EncodedTexts encoded;
  encoded.begins.assign(count + 1, 0);
  for (std::size_t i = 0; i < count; ++i) {
    encodings[i] = model_.tokenizer().encode(texts[i], {max_tokens});
    encoded.cut += encodings[i].cut_tokens > 0 ? 1 : 0;
    encoded.begins[i + 1] = encoded.begins[i] + static_cast<std::int64_t>(encodings[i].ids.size());
  }
  // Texts of one length side by side need no padding.
  std::vector<std::size_t> order = range(0, count);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return encodings[a].ids.size() < encodings[b].ids.size();
  });
  const fusion::FusionConfig& config = model_.fusion_config();
  const auto rows = static_cast<std::int64_t>(count);
  const std::int64_t hidden = config.text_hidden_size;
  encoded.tokens = at::empty({encoded.begins[count], hidden}, at::kFloat);
  encoded.pooled = at::empty({rows, hidden}, at::kFloat);
  encoded.vectors = at::empty({rows, config.embedding_size}, at::kFloat);
  in_batches(count, kTextBatch, [&](std::size_t begin, std::size_t end) {
    std::vector<const text::Encoding*> batch;
    for (std::size_t i = begin; i < end; ++i) batch.push_back(&encodings[order[i]]);
    const IdBatch padded = pad_ids(batch, model_.tokenizer().pad_id());
    const models::TextFeatures features =
        model_.encode_texts(padded.ids, padded.type_ids, padded.valid);
    const at::Tensor vectors = model_.fuse(nullptr, &features).embedding;
    require_finite(vectors);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t text = order[i];
      const auto row = static_cast<std::int64_t>(i - begin);
      const std::int64_t length = encoded.begins[text + 1] - encoded.begins[text];
      put_rows(encoded.tokens, static_cast<std::size_t>(encoded.begins[text]),
               features.tokens[row].narrow(0, 0, length));
      put_rows(encoded.pooled, text, features.pooled.narrow(0, row, 1));
      put_rows(encoded.vectors, text, vectors.narrow(0, row, 1));
    }
  });
  return encoded;
}

FusedPairs SetEncoder::fuse(const EncodedImages& images, const EncodedTexts& texts,
                            std::span<const ImageTextPair> pairs, Wanted wanted) const {
  const c10::InferenceMode guard;
  FusedPairs fused;
  if (wanted.vectors)
    fused.vectors =
        at::empty({static_cast<std::int64_t>(pairs.size()), model_.fusion_config().embedding_size},
                  at::kFloat);
  if (wanted.logits) fused.logits.resize(pairs.size());
  std::vector<std::size_t> order = range(0, pairs.size());
  const auto length = [&](std::size_t pair) {
    return texts.begins[pairs[pair].text + 1] - texts.begins[pairs[pair].text];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return length(a) < length(b); });
  in_batches(pairs.size(), kPairBatch, [&](std::size_t begin, std::size_t end) {
    std::vector<std::size_t> image_rows, text_rows;
    for (std::size_t i = begin; i < end; ++i) {
      image_rows.push_back(pairs[order[i]].image);
      text_rows.push_back(pairs[order[i]].text);
    }
    const vision::VisionOutput vision = select(images, image_rows);
    const models::TextFeatures text = select(texts, text_rows);
    const fusion::FusionOutput output = model_.fuse(&vision, &text);
    require_finite(output.embedding);
    const at::Tensor logits = wanted.logits ? model_.match(output).contiguous() : at::Tensor();
    if (wanted.logits) require_finite(logits);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t row = i - begin;
      if (wanted.logits) fused.logits[order[i]] = logits.const_data_ptr<float>()[row];
      if (wanted.vectors)
        put_rows(fused.vectors, order[i],
                 output.embedding.narrow(0, static_cast<std::int64_t>(row), 1));
    }
  });
  return fused;
}

at::Tensor SetEncoder::classify(const EncodedImages& images, const EncodedTexts& texts,
                                std::span<const ImageTextPair> items, std::size_t label_set) const {
  const c10::InferenceMode guard;
  const auto labels =
      static_cast<std::int64_t>(model_.fusion_config().label_sets.at(label_set).labels.size());
  at::Tensor logits = at::empty({static_cast<std::int64_t>(items.size()), labels}, at::kFloat);
  // A batch has the same sides in all of its rows.
  for (const auto& [with_image, with_text] :
       {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    std::vector<std::size_t> group;
    for (std::size_t i = 0; i < items.size(); ++i)
      if ((items[i].image != kAbsent) == with_image && (items[i].text != kAbsent) == with_text)
        group.push_back(i);
    in_batches(group.size(), kPairBatch, [&](std::size_t begin, std::size_t end) {
      std::vector<std::size_t> image_rows, text_rows;
      for (std::size_t i = begin; i < end; ++i) {
        image_rows.push_back(items[group[i]].image);
        text_rows.push_back(items[group[i]].text);
      }
      std::optional<vision::VisionOutput> vision;
      std::optional<models::TextFeatures> text;
      if (with_image) vision = select(images, image_rows);
      if (with_text) text = select(texts, text_rows);
      const at::Tensor batch = model_.classify(
          model_.fuse(vision ? &*vision : nullptr, text ? &*text : nullptr), label_set);
      require_finite(batch);
      for (std::size_t i = begin; i < end; ++i)
        put_rows(logits, group[i], batch.narrow(0, static_cast<std::int64_t>(i - begin), 1));
    });
  }
  return logits;
}

}  // namespace bifocal::training
