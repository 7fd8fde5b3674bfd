#include "training/captions/text_only.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "../evaluation/pooled_control.h"
#include "../row_index.h"
#include "training/captions/caption_edits.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kBuckets = std::size_t{1} << 20;
constexpr int kPasses = 6;
constexpr float kRate = 0.3F;
constexpr float kDecay = 1e-5F;  // L2, of the features that a pair has

using Features = std::map<std::size_t, float>;  // bucket: how often

std::size_t bucket_of(const std::string& gram, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325u ^ seed;
  for (const char c : gram) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return static_cast<std::size_t>(hash ^ (hash >> 32)) % kBuckets;
}

void add(Features& features, const std::string& text, float sign, std::uint64_t seed) {
  std::vector<std::string> words = caption_words(text);
  words.insert(words.begin(), "^");
  words.emplace_back("$");
  const auto count = [&](const std::string& gram) { features[bucket_of(gram, seed)] += sign; };
  for (std::size_t i = 0; i < words.size(); ++i) {
    count(words[i]);
    if (i + 1 < words.size()) count(words[i] + " " + words[i + 1]);
    if (i + 2 < words.size()) {
      count(words[i] + " " + words[i + 1] + " " + words[i + 2]);
      count(words[i] + " _ " + words[i + 2]);
    }
    if (i + 3 < words.size()) count(words[i] + " _ _ " + words[i + 3]);
  }
}

Features difference(const Contrast& pair, std::uint64_t seed) {
  Features features;
  add(features, pair.true_text, 1, seed);
  add(features, pair.false_text, -1, seed);
  std::erase_if(features, [](const auto& entry) { return entry.second == 0; });
  return features;
}

}  // namespace

double TextOnlyModel::accuracy(std::span<const Contrast> pairs) const {
  double right = 0;
  for (const double margin : margins(pairs)) right += margin > 0 ? 1 : margin < 0 ? 0 : 0.5;
  return pairs.empty() ? 50 : 100 * right / static_cast<double>(pairs.size());
}

NgramModel::NgramModel(std::span<const Contrast> pairs, std::uint64_t seed)
    : seed_(seed), weights_(kBuckets) {
  std::vector<Features> features;
  for (const Contrast& pair : pairs) features.push_back(difference(pair, seed));
  std::vector<float> squares(kBuckets, 1e-6F);
  std::vector<std::size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (int pass = 0; pass < kPasses; ++pass) {
    Random random(seed, static_cast<std::uint64_t>(pass));
    random.shuffle(order);
    for (const std::size_t i : order) {
      float logit = 0;
      for (const auto& [bucket, value] : features[i]) logit += weights_[bucket] * value;
      const float error = -1 / (1 + std::exp(logit));  // of -log sigmoid(logit)
      for (const auto& [bucket, value] : features[i]) {
        const float gradient = error * value + kDecay * weights_[bucket];
        squares[bucket] += gradient * gradient;
        weights_[bucket] -= kRate * gradient / std::sqrt(squares[bucket]);
      }
    }
  }
}

std::vector<double> NgramModel::margins(std::span<const Contrast> pairs) const {
  std::vector<double> all;
  all.reserve(pairs.size());
  for (const Contrast& pair : pairs) {
    double margin = 0;
    for (const auto& [bucket, value] : difference(pair, seed_))
      margin += static_cast<double>(weights_[bucket] * value);
    all.push_back(margin);
  }
  return all;
}

at::Tensor TextVectors::of(std::span<const Contrast> pairs) {
  std::vector<std::string> texts;
  std::vector<std::int64_t> rows;
  for (const auto side : {&Contrast::true_text, &Contrast::false_text})
    for (const Contrast& pair : pairs) {
      const auto [row, is_new] =
          rows_.try_emplace(pair.*side, static_cast<std::int64_t>(rows_.size()));
      if (is_new) texts.push_back(pair.*side);
      rows.push_back(row->second);
    }
  const c10::NoGradGuard no_grad;
  if (!texts.empty()) {
    const at::Tensor encoded = encode_(texts);
    vectors_ = vectors_.defined() ? at::cat({vectors_, encoded}) : encoded;
  }
  return vectors_.index_select(0, index_of(rows));
}

struct TextVectorModel::Network {
  at::Tensor mean, deviation;  // [H], of the texts that it learned from
  PooledControl control;

  PooledContrasts seen(const at::Tensor& of_pairs) const {
    const std::int64_t pairs = of_pairs.size(0) / 2;
    return {at::zeros({1, 1}), (of_pairs - mean) / deviation, at::zeros({pairs}, at::kLong),
            at::arange(pairs), at::arange(pairs, 2 * pairs)};
  }
};

TextVectorModel::TextVectorModel(std::span<const Contrast> pairs,
                                 std::shared_ptr<TextVectors> vectors, std::uint64_t seed)
    : vectors_(std::move(vectors)) {
  ControlOptions options;
  options.epochs = 4;
  options.hidden_size = 256;
  options.seed = seed;
  const at::Tensor learned_from = vectors_->of(pairs);
  const std::int64_t size = learned_from.size(1);
  network_ = std::make_unique<Network>(
      Network{{}, {}, {{"text alone", false, true, false}, Random(seed), 1, size, options}});
  network_->mean = learned_from.mean(0);
  network_->deviation = (learned_from - network_->mean).pow(2).mean(0).sqrt() + 1e-4;
  network_->control.train(network_->seen(learned_from), options);
}

TextVectorModel::~TextVectorModel() = default;

std::vector<double> TextVectorModel::margins(std::span<const Contrast> pairs) const {
  if (pairs.empty()) return {};
  const at::Tensor margins = network_->control.margins(network_->seen(vectors_->of(pairs)));
  const float* values = margins.const_data_ptr<float>();
  return {values, values + margins.size(0)};
}

std::vector<std::size_t> balanced_by(std::span<const double> margins,
                                     std::span<const Contrast> pairs, double shift) {
  std::map<std::string, std::vector<std::pair<double, std::size_t>>> by_kind;  // sureness, index
  for (std::size_t i = 0; i < pairs.size(); ++i)
    by_kind[pairs[i].kind].emplace_back(std::abs(margins[i] + shift), i);
  std::vector<std::size_t> kept;
  for (auto& [kind, members] : by_kind) {
    std::ranges::sort(members, std::greater<>());
    // The surest first: one that is wrong takes along the right one that is next in sureness.
    std::vector<std::size_t> right, wrong;  // without a partner yet
    for (const auto& [sureness, index] : members) {
      const bool is_right = margins[index] + shift > 0;
      std::vector<std::size_t>& own = is_right ? right : wrong;
      std::vector<std::size_t>& other = is_right ? wrong : right;
      if (sureness == 0) {
        kept.push_back(index);
      } else if (other.empty()) {
        own.push_back(index);
      } else {
        kept.push_back(index);
        kept.push_back(other.back());
        other.pop_back();
      }
    }
  }
  std::ranges::sort(kept);
  return kept;
}

}  // namespace bifocal::training
