#include "training/captions/edited_captions.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <map>
#include <utility>

#include "bifocal/error.h"
#include "training/captions/caption_edits.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

constexpr std::uint64_t kDraws = 3;  // of false captions for each true one, to filter by
constexpr double kShiftStep = 0.25, kMostShift = 8;
constexpr std::size_t kFewest = 100;  // of a kind: of fewer an accuracy says little
// Of the images of train: what the control learns from, and what says when to stop.
constexpr double kControlShare = 0.25, kStopShare = 0.25;

// Contrasts of a set, and whose they are.
struct Pairs {
  std::vector<Contrast> contrasts;
  std::vector<std::size_t> record;

  void add(const Pairs& from, std::size_t i) {
    contrasts.push_back(from.contrasts[i]);
    record.push_back(from.record[i]);
  }
  void add_all(const Pairs& from) {
    for (std::size_t i = 0; i < from.contrasts.size(); ++i) add(from, i);
  }
  // Those that a model with these margins tells nothing about.
  Pairs balanced(std::span<const double> margins, double shift = 0) const {
    Pairs kept;
    for (const std::size_t i : balanced_by(margins, contrasts, shift)) kept.add(*this, i);
    return kept;
  }
  Pairs balanced(const TextOnlyModel& model) const { return balanced(model.margins(contrasts)); }
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
    Record record = records[i];
    record.contrasts = std::move(of_record[i]);
    result.add(std::move(record), [source, i] { return source->read_image(i); });
  }
  return result;
}

// Edits of some of the images of train.
struct Part {
  Pairs first, further;  // the second: more draws of the same captions, to learn from alone

  std::vector<Contrast> all() const {
    std::vector<Contrast> contrasts = first.contrasts;
    contrasts.insert(contrasts.end(), further.contrasts.begin(), further.contrasts.end());
    return contrasts;
  }
};

// By what they are for.
struct Edits {
  Part filter, stop, control;
  Pairs measured;
};

// Of each kind what is balanced by `filter`, with the least shift that satisfies `stop`.
Pairs filtered(const Pairs& measured, const TextOnlyModel& filter, const TextOnlyModel& stop,
               double most_text_only) {
  std::map<std::string, Pairs> of_kind;
  for (std::size_t i = 0; i < measured.contrasts.size(); ++i)
    of_kind[measured.contrasts[i].kind].add(measured, i);
  Pairs all_kept;
  for (const auto& [kind, all] : of_kind) {
    const std::vector<double> margins = filter.margins(all.contrasts);
    Pairs best = all;
    for (double shift = 0; shift <= kMostShift; shift += kShiftStep) {
      Pairs kept = all.balanced(margins, shift);
      if (shift > 0 && kept.contrasts.size() < kFewest) break;
      best = std::move(kept);
      if (stop.accuracy(best.contrasts) < most_text_only) break;
    }
    all_kept.add_all(best);
  }
  return all_kept;
}

// Several models' opinions, each of the same weight.
class Together : public TextOnlyModel {
 public:
  Together(std::span<const Contrast> pairs, std::vector<std::unique_ptr<TextOnlyModel>> models)
      : models_(std::move(models)) {
    for (const auto& model : models_) {
      double squares = 0;
      for (const double margin : model->margins(pairs)) squares += margin * margin;
      scales_.push_back(
          1 /
          std::sqrt(squares / static_cast<double>(std::max<std::size_t>(pairs.size(), 1)) + kTiny));
    }
  }
  std::vector<double> margins(std::span<const Contrast> pairs) const override {
    std::vector<double> sum(pairs.size());
    for (std::size_t m = 0; m < models_.size(); ++m) {
      const std::vector<double> margins = models_[m]->margins(pairs);
      for (std::size_t i = 0; i < pairs.size(); ++i) sum[i] += scales_[m] * margins[i];
    }
    return sum;
  }

 private:
  static constexpr double kTiny = 1e-12;
  std::vector<std::unique_ptr<TextOnlyModel>> models_;
  std::vector<double> scales_;  // to a mean square of 1, on what they learned from
};

std::vector<EditedCaptions::Row> rows_of(const Pairs& found, const Pairs& kept,
                                         const TextOnlyModel& control) {
  std::map<std::string, std::pair<std::vector<Contrast>, std::vector<Contrast>>> by_kind;
  for (const Contrast& pair : found.contrasts) by_kind[pair.kind].first.push_back(pair);
  for (const Contrast& pair : kept.contrasts) by_kind[pair.kind].second.push_back(pair);
  std::vector<EditedCaptions::Row> rows;
  const auto add_row = [&](const std::string& kind, const std::vector<Contrast>& before,
                           const std::vector<Contrast>& after) {
    rows.push_back(
        {kind, before.size(), after.size(), control.accuracy(before), control.accuracy(after)});
  };
  for (const auto& [kind, pairs] : by_kind) add_row(kind, pairs.first, pairs.second);
  add_row("all", found.contrasts, kept.contrasts);
  return rows;
}

}  // namespace

EditedCaptions edit_captions(const RecordSet& train, const RecordSet& measured, std::uint64_t seed,
                             double most_text_only, const std::shared_ptr<TextVectors>& vectors) {
  enum Use { kFilter, kStop, kControl };
  const auto use_of = [seed](std::size_t image) {
    const double drawn = Random(seed ^ 0x636f6e74726f6cu, image).uniform();
    return drawn < kControlShare ? kControl : drawn < kControlShare + kStopShare ? kStop : kFilter;
  };
  const CaptionEditor editor(train);
  const auto edits_for = [&](Use use, std::uint64_t draw) {
    return edits_of(train, editor, seed + draw, [&](std::size_t i) { return use_of(i) == use; });
  };
  const auto part_for = [&](Use use) {
    Part part{edits_for(use, 0), {}};
    for (std::uint64_t draw = 1; draw < kDraws; ++draw) part.further.add_all(edits_for(use, draw));
    return part;
  };
  Edits edits{part_for(kFilter), part_for(kStop), part_for(kControl),
              edits_of(measured, editor, seed + kDraws, [](std::size_t) { return true; })};
  for (const Pairs* pairs : std::initializer_list<const Pairs*>{
           &edits.filter.first, &edits.stop.first, &edits.control.first, &edits.measured})
    if (pairs->contrasts.empty())
      throw Error(ErrorCode::kInvalidArgument,
                  "no caption has a word that can be exchanged: colours, numbers, animals, gender, "
                  "places and actions are known, in English");
  const Pairs found = edits.measured;
  const auto learn = [&vectors](const Part& part,
                                std::uint64_t of_model) -> std::unique_ptr<TextOnlyModel> {
    const std::vector<Contrast> pairs = part.all();
    std::vector<std::unique_ptr<TextOnlyModel>> models;
    models.push_back(std::make_unique<NgramModel>(pairs, of_model));
    if (vectors) models.push_back(std::make_unique<TextVectorModel>(pairs, vectors, of_model));
    return std::make_unique<Together>(pairs, std::move(models));
  };
  const auto control = learn(edits.control, seed), stop = learn(edits.stop, seed + 1),
             filter = learn(edits.filter, seed + 2);
  edits.measured = filtered(edits.measured, *filter, *stop, most_text_only);
  const Pairs of_filter = edits.filter.first.balanced(*control),
              of_stop = edits.stop.first.balanced(*filter),
              of_control = edits.control.first.balanced(*filter);
  EditedCaptions result;
  result.rows = rows_of(found, edits.measured, *control);
  result.sets = {with_contrasts(train, {&of_filter, &of_stop, &of_control}),
                 with_contrasts(measured, {&edits.measured})};
  return result;
}

}  // namespace bifocal::training
