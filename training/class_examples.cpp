#include "training/class_examples.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

// The classes of a record, or why it cannot be used.
struct Truth {
  std::vector<std::int64_t> classes;
  std::string problem;
};

Truth truth_of(const Record& record, const ClassLabels& labels,
               const std::unordered_map<std::string, std::int64_t>& class_of) {
  Truth truth;
  for (const std::string& label : record.labels) {
    const auto found = class_of.find(label);
    if (found == class_of.end()) return {{}, "the training set has no label \"" + label + "\""};
    truth.classes.push_back(found->second);
  }
  if (!labels.multi_label && truth.classes.size() != 1)
    truth.problem = truth.classes.empty() ? "has no label" : "has several labels";
  return truth;
}

}  // namespace

ClassLabels class_labels(const RecordSet& train) {
  ClassLabels labels{train.labels(), train.multi_label()};
  if (labels.names.size() < (labels.multi_label ? 1u : 2u))
    throw Error(ErrorCode::kInvalidItem,
                "the training set has " + std::to_string(labels.names.size()) +
                    " labels: two are needed at least, as folders with photographs or as the "
                    "column \"label\" of a table (\"labels\" for several a record)");
  return labels;
}

std::vector<std::size_t> ClassExamples::truth(std::size_t i) const {
  std::vector<std::size_t> held;
  const std::int64_t classes = targets.size(1);
  const float* row = targets.const_data_ptr<float>() + static_cast<std::int64_t>(i) * classes;
  for (std::int64_t c = 0; c < classes; ++c)
    if (row[c] > 0) held.push_back(static_cast<std::size_t>(c));
  return held;
}

ClassExamples encode_examples(const RecordSet& all, const ClassLabels& labels,
                              const Encoders& encoders, const ImageViews& views,
                              std::int64_t max_text_tokens, const EncodingOptions& options) {
  std::unordered_map<std::string, std::int64_t> class_of;
  for (const std::string& name : labels.names)
    class_of.emplace(name, static_cast<std::int64_t>(class_of.size()));
  ClassExamples examples;
  examples.pooling = encoders.text->config().pooling;
  examples.skipped = all.skipped();
  std::vector<std::size_t> usable;
  std::vector<Truth> truths;
  bool any_image = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    Truth truth = truth_of(all[i], labels, class_of);
    if (!truth.problem.empty()) {
      examples.skipped.push_back({all[i].id, truth.problem});
      continue;
    }
    usable.push_back(i);
    truths.push_back(std::move(truth));
    any_image = any_image || all[i].has_image();
  }
  const RecordSet records = all.subset(usable);
  std::vector<std::int64_t> row_of(records.size(), kNotShown);
  if (any_image) {
    examples.images = encode_images(records, encoders.vision, encoders.preprocess, views,
                                    encoders.vision->config().stages.size(), options);
    for (std::size_t row = 0; row < examples.images.records.size(); ++row)
      row_of[examples.images.records[row]] = static_cast<std::int64_t>(row);
    examples.skipped.insert(examples.skipped.end(), examples.images.skipped.begin(),
                            examples.images.skipped.end());
  }

  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < records.size(); ++i)
    if (row_of[i] != kNotShown || !records[i].texts.empty()) kept.push_back(i);
  if (kept.empty())
    throw Error(ErrorCode::kInvalidItem,
                "no record with a known label is left" +
                    (examples.skipped.empty()
                         ? std::string()
                         : "; the first that was left out: " + examples.skipped.front().where +
                               ": " + examples.skipped.front().reason));
  examples.records = records.subset(kept);
  examples.targets = at::zeros(
      {static_cast<std::int64_t>(kept.size()), static_cast<std::int64_t>(labels.names.size())});
  auto* target = examples.targets.mutable_data_ptr<float>();
  std::vector<std::string> texts;
  examples.first_text.push_back(0);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    examples.image_row.push_back(row_of[kept[i]]);
    for (const std::int64_t c : truths[kept[i]].classes) target[c] = 1;
    target += labels.names.size();
    const std::vector<std::string>& own = examples.records[i].texts;
    texts.insert(texts.end(), own.begin(), own.end());
    examples.first_text.push_back(static_cast<std::int64_t>(texts.size()));
  }
  if (!texts.empty())
    examples.texts =
        encode_captions(texts, encoders.text, *encoders.tokenizer,
                        encoders.text->config().num_hidden_layers, max_text_tokens, options);
  return examples;
}

at::Tensor rows_at(const std::vector<std::int64_t>& rows,
                   const std::vector<std::int64_t>& positions) {
  at::Tensor index = at::empty({static_cast<std::int64_t>(positions.size())}, at::kLong);
  auto* out = index.mutable_data_ptr<std::int64_t>();
  for (const std::int64_t position : positions) *out++ = rows[static_cast<std::size_t>(position)];
  return index;
}

at::Tensor logits_by_sides(
    const Shown& shown,
    const std::function<at::Tensor(const std::vector<std::int64_t>& positions)>& logits_of) {
  std::array<std::vector<std::int64_t>, 4> groups;  // by which sides are there
  for (std::size_t i = 0; i < shown.image.size(); ++i)
    groups[(shown.image[i] != kNotShown ? 1u : 0u) + (shown.text[i] != kNotShown ? 2u : 0u)]
        .push_back(static_cast<std::int64_t>(i));
  std::vector<at::Tensor> parts;
  std::vector<std::int64_t> place(shown.image.size());  // of each position in the parts together
  std::int64_t next = 0;
  for (std::size_t sides = 1; sides < groups.size(); ++sides) {
    if (groups[sides].empty()) continue;
    parts.push_back(logits_of(groups[sides]));
    for (const std::int64_t position : groups[sides])
      place[static_cast<std::size_t>(position)] = next++;
  }
  if (parts.size() == 1) return parts.front();
  at::Tensor order = at::empty({next}, at::kLong);
  std::copy(place.begin(), place.end(), order.mutable_data_ptr<std::int64_t>());
  return at::cat(parts).index_select(0, order.to(parts.front().device()));
}

}  // namespace bifocal::training
