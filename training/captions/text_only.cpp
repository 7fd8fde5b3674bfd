#include "training/captions/text_only.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "bifocal/error.h"
#include "training/captions/caption_edits.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kBuckets = std::size_t{1} << 20;
constexpr int kPasses = 6;
constexpr float kRate = 0.3F;
constexpr std::uint64_t kDraws = 3;  // of false captions for each true one, to filter by
constexpr double kShiftStep = 0.25, kMostShift = 8;
constexpr std::size_t kFewest = 100;  // of a kind: of fewer an accuracy says little
// Of the images of train: what the control learns from, and what says when to stop.
constexpr double kControlShare = 0.25, kStopShare = 0.25;
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

double outcome(double margin) { return margin > 0 ? 1 : margin < 0 ? 0 : 0.5; }

}  // namespace

TextOnlyClassifier::TextOnlyClassifier(std::span<const Contrast> pairs, std::uint64_t seed)
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

double TextOnlyClassifier::margin(const Contrast& pair) const {
  double margin = 0;
  for (const auto& [bucket, value] : difference(pair, seed_))
    margin += static_cast<double>(weights_[bucket] * value);
  return margin;
}

double TextOnlyClassifier::accuracy(std::span<const Contrast> pairs) const {
  double right = 0;
  for (const Contrast& pair : pairs) right += outcome(margin(pair));
  return pairs.empty() ? 50 : 100 * right / static_cast<double>(pairs.size());
}

std::vector<std::size_t> balanced_by(const TextOnlyClassifier& model,
                                     std::span<const Contrast> pairs, double shift) {
  std::map<std::string, std::vector<std::pair<double, std::size_t>>> by_kind;  // sureness, index
  std::vector<double> margins;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    margins.push_back(model.margin(pairs[i]) + shift);
    by_kind[pairs[i].kind].emplace_back(std::abs(margins[i]), i);
  }
  std::vector<std::size_t> kept;
  for (auto& [kind, members] : by_kind) {
    std::ranges::sort(members, std::greater<>());
    // The surest first: one that is wrong takes along the right one that is next in sureness.
    std::vector<std::size_t> right, wrong;  // without a partner yet
    for (const auto& [sureness, index] : members) {
      std::vector<std::size_t>& own = margins[index] > 0 ? right : wrong;
      std::vector<std::size_t>& other = margins[index] > 0 ? wrong : right;
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

namespace {

// Contrasts of a set, and whose they are.
struct Pairs {
  std::vector<Contrast> contrasts;
  std::vector<std::size_t> record;

  void add(const Pairs& from, std::size_t i) {
    contrasts.push_back(from.contrasts[i]);
    record.push_back(from.record[i]);
  }
  void keep(const std::vector<std::size_t>& indices) {
    Pairs kept;
    for (const std::size_t i : indices) kept.add(*this, i);
    *this = std::move(kept);
  }
};

Pairs edits_of(const RecordSet& records, const CaptionEditor& editor, std::uint64_t seed,
               auto&& wanted) {
  Pairs pairs;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (!wanted(i)) continue;
    for (Contrast& contrast : editor.edits(records[i].texts, Random(seed, i))) {
      pairs.contrasts.push_back(std::move(contrast));
      pairs.record.push_back(i);
    }
  }
  return pairs;
}

RecordSet with_contrasts(const RecordSet& records, const std::vector<const Pairs*>& sources) {
  std::vector<std::vector<Contrast>> of_record(records.size());
  for (const Pairs* pairs : sources)
    for (std::size_t i = 0; i < pairs->contrasts.size(); ++i)
      of_record[pairs->record[i]].push_back(pairs->contrasts[i]);
  RecordSet result;
  const auto source = std::make_shared<const RecordSet>(records);
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (of_record[i].empty()) continue;
    Record record = records[i];
    record.contrasts = std::move(of_record[i]);
    result.add(std::move(record), [source, i] { return source->read_image(i); });
  }
  return result;
}

std::vector<EditedCaptions::Row> rows_of(const Pairs& found, const Pairs& kept,
                                         const TextOnlyClassifier& judge) {
  std::map<std::string, std::pair<std::vector<Contrast>, std::vector<Contrast>>> by_kind;
  for (const Contrast& pair : found.contrasts) by_kind[pair.kind].first.push_back(pair);
  for (const Contrast& pair : kept.contrasts) by_kind[pair.kind].second.push_back(pair);
  std::vector<EditedCaptions::Row> rows;
  const auto add_row = [&](const std::string& kind, const std::vector<Contrast>& before,
                           const std::vector<Contrast>& after) {
    rows.push_back(
        {kind, before.size(), after.size(), judge.accuracy(before), judge.accuracy(after)});
  };
  for (const auto& [kind, pairs] : by_kind) add_row(kind, pairs.first, pairs.second);
  add_row("all", found.contrasts, kept.contrasts);
  return rows;
}

}  // namespace

EditedCaptions edit_captions(const RecordSet& train, const RecordSet& measured, std::uint64_t seed,
                             double most_text_only) {
  enum Use { kFilter, kStop, kControl };
  const auto use_of = [seed](std::size_t image) {
    const double drawn = Random(seed ^ 0x636f6e74726f6cu, image).uniform();
    return drawn < kControlShare ? kControl : drawn < kControlShare + kStopShare ? kStop : kFilter;
  };
  const CaptionEditor editor(train);
  const auto edits_for = [&](Use use, std::uint64_t draw = 0) {
    return edits_of(train, editor, seed + draw, [&](std::size_t i) { return use_of(i) == use; });
  };
  Pairs filtering = edits_for(kFilter), stopping = edits_for(kStop), control = edits_for(kControl);
  const Pairs found = edits_of(measured, editor, seed + kDraws, [](std::size_t) { return true; });
  for (const Pairs* pairs :
       std::initializer_list<const Pairs*>{&filtering, &stopping, &control, &found})
    if (pairs->contrasts.empty())
      throw Error(ErrorCode::kInvalidArgument,
                  "no caption has a word that can be exchanged: colours, numbers, animals, gender, "
                  "places and actions are known, in English");
  const TextOnlyClassifier judge(control.contrasts, seed), stop(stopping.contrasts, seed + 1);
  std::vector<Contrast> learned_from = filtering.contrasts;
  for (std::uint64_t draw = 1; draw < kDraws; ++draw) {
    const Pairs more = edits_for(kFilter, draw);
    learned_from.insert(learned_from.end(), more.contrasts.begin(), more.contrasts.end());
  }
  const TextOnlyClassifier filter(learned_from, seed + 2);
  std::map<std::string, Pairs> of_kind;
  for (std::size_t i = 0; i < found.contrasts.size(); ++i)
    of_kind[found.contrasts[i].kind].add(found, i);
  for (auto& [kind, pairs] : of_kind) {
    const Pairs all = pairs;
    for (double shift = 0; shift <= kMostShift; shift += kShiftStep) {
      Pairs kept = all;
      kept.keep(balanced_by(filter, all.contrasts, shift));
      if (shift > 0 && kept.contrasts.size() < kFewest) break;
      pairs = std::move(kept);
      if (stop.accuracy(pairs.contrasts) < most_text_only) break;
    }
  }
  Pairs kept;
  for (const auto& [kind, pairs] : of_kind)
    for (std::size_t i = 0; i < pairs.contrasts.size(); ++i) kept.add(pairs, i);
  EditedCaptions result;
  result.rows = rows_of(found, kept, judge);
  filtering.keep(balanced_by(judge, filtering.contrasts));
  stopping.keep(balanced_by(filter, stopping.contrasts));
  control.keep(balanced_by(filter, control.contrasts));
  result.sets = {with_contrasts(train, {&filtering, &stopping, &control}),
                 with_contrasts(measured, {&kept})};
  return result;
}

}  // namespace bifocal::training
