#include "training/evaluation/bundle_evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "bifocal/error.h"
#include "training/evaluation/binary.h"
#include "training/evaluation/class_section.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

// Which rows of a matrix to take.
at::Tensor rows_of(const at::Tensor& matrix, const std::vector<std::size_t>& rows) {
  std::vector<std::int64_t> indices(rows.begin(), rows.end());
  const at::Tensor index =
      at::from_blob(indices.data(), {static_cast<std::int64_t>(indices.size())}, at::kLong);
  return at::index_select(matrix, 0, index).contiguous();
}

// Gives each text a row of its own, the same to the same.
class TextRows {
 public:
  std::size_t row(const std::string& text) {
    const auto [found, is_new] = rows_.try_emplace(text, texts_.size());
    if (is_new) texts_.push_back(text);
    return found->second;
  }
  const std::vector<std::string>& texts() const noexcept { return texts_; }

 private:
  std::unordered_map<std::string, std::size_t> rows_;
  std::vector<std::string> texts_;
};

float dot(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0F);
}

double hits_share(const std::vector<std::size_t>& ranks, std::span<const std::size_t> drawn) {
  double hits = 0;
  for (const std::size_t query : drawn) hits += ranks[query] == 0 ? 1 : 0;
  return 100 * hits / static_cast<double>(drawn.size());
}

Section::Row rank_row(std::string name, const RankFigures& figures) {
  return {std::move(name),
          {figures.recall_at_1, figures.recall_at_5, figures.recall_at_10, figures.median_rank}};
}

double outcome(float of_true, float of_false) {
  return of_true > of_false ? 1 : of_true < of_false ? 0 : 0.5;
}

}  // namespace

BundleEvaluation::BundleEvaluation(const SetEncoder& encoder, const RecordSet& records,
                                   EvaluationOptions options)
    : encoder_(encoder), options_(options), records_(records.grouped_by_image()) {
  for (const Skipped& skipped : records.skipped()) records_.skip(skipped.where, skipped.reason);
  std::vector<std::size_t> with_image, without;
  for (std::size_t i = 0; i < records_.size(); ++i)
    (records_[i].has_image() ? with_image : without).push_back(i);
  if (!with_image.empty()) {
    RecordSet pictured = records_.subset(with_image);
    encoded_images_ = encoder.encode_images(pictured);
    // Records in the order they had, but for those whose image could not be decoded.
    std::set<std::string> left;
    for (const Record& record : pictured.records()) left.insert(record.image);
    std::vector<std::size_t> kept;
    for (std::size_t i = 0; i < records_.size(); ++i)
      if (!records_[i].has_image() || left.contains(records_[i].image)) kept.push_back(i);
    RecordSet usable = records_.subset(kept);
    for (const RecordSet* set : {&std::as_const(records_), &std::as_const(pictured)})
      for (const Skipped& skipped : set->skipped()) usable.skip(skipped.where, skipped.reason);
    records_ = std::move(usable);
  }

  TextRows rows;
  for (const Record& record : records_.records()) {
    image_of_record_.push_back(record.has_image() ? images_++ : kAbsent);
    text_of_record_.push_back(record.texts.empty() ? kAbsent : rows.row(record.texts.front()));
    for (std::size_t t = 0; t < record.texts.size(); ++t)
      texts_.push_back({image_of_record_.back(), rows.row(record.texts[t]), t == 0});
    if (!record.has_image()) continue;
    for (const Contrast& contrast : record.contrasts)
      contrasts_.push_back({contrast.kind, image_of_record_.back(), rows.row(contrast.true_text),
                            rows.row(contrast.false_text)});
  }
  if (!rows.texts().empty()) encoded_texts_ = encoder.encode_texts(rows.texts());
}

std::vector<BundleEvaluation::RecordText> BundleEvaluation::captions() const {
  std::vector<RecordText> captions;
  for (const RecordText& text : texts_)
    if (text.image != kAbsent) captions.push_back(text);
  return captions;
}

at::Tensor BundleEvaluation::vectors_of(const std::vector<RecordText>& texts) const {
  std::vector<std::size_t> rows;
  for (const RecordText& text : texts) rows.push_back(text.row);
  return rows_of(encoded_texts_.vectors, rows);
}

bool BundleEvaluation::has_retrieval() const {
  std::vector<bool> captioned(images_);
  for (const RecordText& text : texts_)
    if (text.image != kAbsent) captioned[text.image] = true;
  return images_ > 1 && std::find(captioned.begin(), captioned.end(), false) == captioned.end();
}

bool BundleEvaluation::has_fused() const {
  std::vector<std::size_t> count(images_);
  for (const RecordText& text : texts_)
    if (text.image != kAbsent) ++count[text.image];
  return images_ > 1 && std::all_of(count.begin(), count.end(), [](auto c) { return c > 1; });
}

bool BundleEvaluation::has_classes() const {
  return !records_.labels().empty() && !encoder_.model().fusion_config().label_sets.empty();
}

std::vector<Section> BundleEvaluation::retrieval() const {
  if (!has_retrieval())
    throw Error(ErrorCode::kInvalidArgument,
                "retrieval needs at least two images, each with a text");
  const c10::InferenceMode guard;
  const std::vector<RecordText> captions = this->captions();
  const at::Tensor texts = vectors_of(captions);
  const MatrixView image_view = as_matrix(encoded_images_.vectors), text_view = as_matrix(texts);
  Relevant of_image(images_), of_text(captions.size());
  std::vector<std::size_t> image_of(captions.size());
  for (std::size_t t = 0; t < captions.size(); ++t) {
    image_of[t] = captions[t].image;
    of_image[captions[t].image].push_back(t);
    of_text[t] = {captions[t].image};
  }
  const auto to_text = best_ranks(image_view, text_view, of_image);
  const auto to_image = best_ranks(text_view, image_view, of_text);
  const RetrievalFigures figures =
      retrieval_figures(to_text, to_image, image_of, options_.bootstrap);

  Section section{"retrieval",
                  "Retrieval: " + std::to_string(images_) + " images, " +
                      std::to_string(captions.size()) + " texts",
                  {"R@1", "R@5", "R@10", "median rank", "sum of six"},
                  {rank_row("image to text", figures.image_to_text),
                   rank_row("text to image", figures.text_to_image),
                   {"both directions", {{}, {}, {}, {}, figures.recall_sum}}},
                  {},
                  {}};
  for (Section::Row& row : section.rows) row.cells.resize(section.columns.size());
  if (options_.rerank < 2) return {section};

  // The match head orders the best candidates of both directions; a pair of both is scored once.
  const auto text_candidates = nearest(image_view, text_view, options_.rerank);
  const auto image_candidates = nearest(text_view, image_view, options_.rerank);
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> place;  // image, row of text
  std::vector<ImageTextPair> pairs;
  const auto want = [&](std::size_t image, std::size_t text) {
    const std::size_t row = captions[text].row;
    if (place.try_emplace({image, row}, pairs.size()).second) pairs.push_back({image, row});
  };
  for (std::size_t image = 0; image < images_; ++image)
    for (const std::size_t text : text_candidates[image]) want(image, text);
  for (std::size_t text = 0; text < captions.size(); ++text)
    for (const std::size_t image : image_candidates[text]) want(image, text);
  const auto logits =
      encoder_.fuse(encoded_images_, encoded_texts_, pairs, {.logits = true}).logits;
  std::vector<std::vector<float>> text_scores(images_), image_scores(captions.size());
  for (std::size_t image = 0; image < images_; ++image)
    for (const std::size_t text : text_candidates[image])
      text_scores[image].push_back(logits[place.at({image, captions[text].row})]);
  for (std::size_t text = 0; text < captions.size(); ++text)
    for (const std::size_t image : image_candidates[text])
      image_scores[text].push_back(logits[place.at({image, captions[text].row})]);
  const auto to_text_again = reranked(to_text, text_candidates, text_scores, of_image);
  const auto to_image_again = reranked(to_image, image_candidates, image_scores, of_text);
  const RetrievalFigures again =
      retrieval_figures(to_text_again, to_image_again, image_of, options_.bootstrap);
  const std::string how = ", best " + std::to_string(options_.rerank) + " by the match head";
  const auto add = [&](Section::Row row) {
    row.cells.resize(section.columns.size());
    section.rows.push_back(std::move(row));
  };
  add(rank_row("image to text" + how, again.image_to_text));
  add(rank_row("text to image" + how, again.text_to_image));
  add({"both directions" + how, {{}, {}, {}, {}, again.recall_sum}});
  add({"gain, image to text",
       {bootstrap(
           images_,
           [&](auto drawn) {
             return hits_share(to_text_again, drawn) - hits_share(to_text, drawn);
           },
           options_.bootstrap)}});
  add({"gain, text to image",
       {bootstrap(
           images_,
           [&](auto drawn) {
             std::vector<std::size_t> texts_drawn;
             for (const std::size_t image : drawn)
               texts_drawn.insert(texts_drawn.end(), of_image[image].begin(),
                                  of_image[image].end());
             return hits_share(to_image_again, texts_drawn) - hits_share(to_image, texts_drawn);
           },
           options_.bootstrap)}});
  return {section};
}

std::vector<Section> BundleEvaluation::match() const {
  if (!has_match())
    throw Error(ErrorCode::kInvalidArgument,
                "matching needs at least two images, each with a text");
  const c10::InferenceMode guard;
  const std::vector<RecordText> captions = this->captions();
  // The text of another image that is nearest by the text encoder alone, whatever the fusion layer
  // makes of it.
  std::vector<std::size_t> caption_rows;
  for (const RecordText& caption : captions) caption_rows.push_back(caption.row);
  at::Tensor pooled = rows_of(encoded_texts_.pooled, caption_rows);
  pooled = pooled / pooled.norm(2, {1}, true).clamp_min(1e-12);
  std::size_t most_captions = 0;
  std::map<std::size_t, std::size_t> count;
  for (const RecordText& caption : captions)
    most_captions = std::max(most_captions, ++count[caption.image]);
  const auto neighbours =
      nearest(as_matrix(pooled), as_matrix(pooled), std::min(captions.size(), most_captions * 4));

  std::vector<ImageTextPair> positives, random_pairs, hard_pairs;
  std::vector<std::size_t> unit, hard_unit;
  Random random(options_.seed);
  for (std::size_t t = 0; t < captions.size(); ++t) {
    const std::size_t image = captions[t].image;
    positives.push_back({image, captions[t].row});
    unit.push_back(image);
    std::size_t other = random.below(captions.size());
    while (captions[other].image == image) other = random.below(captions.size());
    random_pairs.push_back({image, captions[other].row});
    for (const std::size_t n : neighbours[t])
      if (captions[n].image != image && captions[n].row != captions[t].row) {
        hard_pairs.push_back({image, captions[n].row});
        hard_unit.push_back(image);
        break;
      }
  }
  const auto logits = [&](const std::vector<ImageTextPair>& pairs) {
    return encoder_.fuse(encoded_images_, encoded_texts_, pairs, {.logits = true}).logits;
  };
  const auto cosines = [&](const std::vector<ImageTextPair>& pairs) {
    std::vector<float> values;
    const MatrixView images = as_matrix(encoded_images_.vectors);
    const MatrixView texts = as_matrix(encoded_texts_.vectors);
    for (const ImageTextPair& pair : pairs)
      values.push_back(dot(images.row(pair.image), texts.row(pair.text)));
    return values;
  };
  const std::vector<float> true_logits = logits(positives), true_cosines = cosines(positives);
  Section section{
      "match",
      "Match: is this text the image's? " + std::to_string(positives.size()) +
          " true pairs and as many of each kind of false ones",
      {"accuracy", "AUROC"},
      {},
      "accuracy at the threshold that is best for the other half of the images; hard: the "
      "text of another image nearest to the true one by the text encoder",
      {}};
  const auto add = [&](const std::string& name, const std::vector<float>& of_true,
                       const std::vector<float>& of_false,
                       const std::vector<std::size_t>& false_unit) {
    const BinaryFigures figures =
        binary_figures({of_true, of_false, unit, false_unit}, images_, options_.bootstrap);
    section.rows.push_back({name, {figures.accuracy, figures.auroc}});
  };
  add("match head, random texts", true_logits, logits(random_pairs), unit);
  add("cosine, random texts", true_cosines, cosines(random_pairs), unit);
  add("match head, hard texts", true_logits, logits(hard_pairs), hard_unit);
  add("cosine, hard texts", true_cosines, cosines(hard_pairs), hard_unit);
  return {section};
}

std::vector<Section> BundleEvaluation::fused() const {
  if (!has_fused())
    throw Error(ErrorCode::kInvalidArgument,
                "fused retrieval needs at least two images, each with two texts");
  const c10::InferenceMode guard;
  std::vector<RecordText> queries, gallery;
  for (const RecordText& caption : captions())
    (caption.is_first ? queries : gallery).push_back(caption);
  Relevant relevant(images_);
  for (std::size_t t = 0; t < gallery.size(); ++t) relevant[gallery[t].image].push_back(t);
  std::vector<ImageTextPair> pairs;  // one an image, in order
  for (const RecordText& query : queries) pairs.push_back({query.image, query.row});

  const at::Tensor& images = encoded_images_.vectors;
  const at::Tensor texts = vectors_of(queries), others = vectors_of(gallery);
  const at::Tensor fused =
      encoder_.fuse(encoded_images_, encoded_texts_, pairs, {.vectors = true}).vectors;
  const auto ranks = [&](const at::Tensor& vectors) {
    return best_ranks(as_matrix(vectors), as_matrix(others), relevant);
  };
  const auto by_mean = ranks(images + texts), by_fusion = ranks(fused);
  std::vector<std::size_t> itself(images_);
  std::iota(itself.begin(), itself.end(), std::size_t{0});
  Section section{"fused",
                  "Fused query: an image with its first text; the gallery: " +
                      std::to_string(gallery.size()) + " other texts",
                  {"R@1", "R@5", "R@10", "median rank"},
                  {},
                  {},
                  {}};
  const auto add = [&](const char* name, const std::vector<std::size_t>& of_ranks) {
    section.rows.push_back(
        rank_row(name, rank_figures(of_ranks, itself, images_, options_.bootstrap)));
  };
  add("image alone", ranks(images));
  add("text alone", ranks(texts));
  add("mean of the two vectors", by_mean);
  add("fused", by_fusion);
  section.rows.push_back(
      {"gain, fused over the mean",
       {bootstrap(
            images_,
            [&](auto drawn) { return hits_share(by_fusion, drawn) - hits_share(by_mean, drawn); },
            options_.bootstrap),
        {},
        {},
        {}}});
  return {section};
}

std::vector<Section> BundleEvaluation::classes(std::size_t label_set) const {
  const fusion::LabelSet& set = encoder_.model().fusion_config().label_sets.at(label_set);
  std::unordered_map<std::string, std::size_t> class_of;
  for (std::size_t c = 0; c < set.labels.size(); ++c) class_of[set.labels[c]] = c;

  std::vector<ImageTextPair> items;
  std::vector<std::vector<std::size_t>> truth;
  std::size_t unknown = 0;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    if (records_[i].labels.empty() && !set.multi_label) continue;
    std::vector<std::size_t> labels;
    for (const std::string& label : records_[i].labels)
      if (const auto found = class_of.find(label); found != class_of.end())
        labels.push_back(found->second);
    if (labels.size() != records_[i].labels.size() || (!set.multi_label && labels.size() != 1)) {
      ++unknown;
      continue;
    }
    items.push_back({image_of_record_[i], text_of_record_[i]});
    truth.push_back(std::move(labels));
  }
  if (items.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "no record has labels of the bundle's label set \"" + set.name + "\"");

  std::vector<ClassSide> sides;
  for (const auto& [name, use_image, use_text] : {std::tuple("text alone", false, true),
                                                  {"image alone", true, false},
                                                  {"fused", true, true}}) {
    const c10::InferenceMode guard;
    ClassSide side{name, {}, {}};
    std::vector<ImageTextPair> chosen;
    for (std::size_t i = 0; i < items.size(); ++i) {
      const ImageTextPair item{use_image ? items[i].image : kAbsent,
                               use_text ? items[i].text : kAbsent};
      if (item.image == kAbsent && item.text == kAbsent) continue;
      chosen.push_back(item);
      side.truth.push_back(truth[i]);
    }
    if (chosen.empty()) continue;
    side.logits = encoder_.classify(encoded_images_, encoded_texts_, chosen, label_set);
    sides.push_back(std::move(side));
  }
  Section section = class_section(set, sides, options_.bootstrap);
  if (unknown > 0)
    section.note =
        std::to_string(unknown) +
        " records were left out: a label that the set does not have, or several where it takes one";
  return {section};
}

Section BundleEvaluation::contrasts(const std::vector<Control>& controls) const {
  if (!has_contrasts())
    throw Error(ErrorCode::kInvalidArgument,
                "no record has contrasts: \"contrasts\": [{\"kind\", \"true\", \"false\"}]");
  const c10::InferenceMode guard;
  std::vector<ImageTextPair> pairs;  // true and false by turns
  for (const EncodedContrast& contrast : contrasts_) {
    pairs.push_back({contrast.image, contrast.true_text});
    pairs.push_back({contrast.image, contrast.false_text});
  }
  const auto logits =
      encoder_.fuse(encoded_images_, encoded_texts_, pairs, {.logits = true}).logits;
  const MatrixView images = as_matrix(encoded_images_.vectors);
  const MatrixView texts = as_matrix(encoded_texts_.vectors);
  const std::size_t count = contrasts_.size();
  std::vector<double> by_head(count), by_cosine(count);
  std::map<std::string, std::vector<std::size_t>> of_kind;
  for (std::size_t i = 0; i < count; ++i) {
    const EncodedContrast& contrast = contrasts_[i];
    by_head[i] = outcome(logits[2 * i], logits[2 * i + 1]);
    by_cosine[i] = outcome(dot(images.row(contrast.image), texts.row(contrast.true_text)),
                           dot(images.row(contrast.image), texts.row(contrast.false_text)));
    of_kind[contrast.kind.empty() ? "(no kind)" : contrast.kind].push_back(i);
  }

  Section section{
      "contrasts",
      "Contrasts: which of two texts is true of the image; chance 50",
      {"pairs", "match head", "cosine", "difference", "its error"},
      {},
      "difference: match head minus cosine over the same pairs; its error: one standard "
      "error, images being independent",
      {}};
  for (const Control& control : controls) {
    section.columns.push_back(control.name);
    section.columns.push_back("over " + control.name);
    section.columns.push_back("error over " + control.name);
  }
  constexpr double kNoInterval = std::numeric_limits<double>::quiet_NaN();
  const auto add = [&](const std::string& name, const std::vector<std::size_t>& members) {
    // Images of these, numbered from 0, are what is resampled.
    std::map<std::size_t, std::vector<std::size_t>> of_image;
    for (const std::size_t i : members) of_image[contrasts_[i].image].push_back(i);
    std::vector<std::vector<std::size_t>> units;
    for (auto& [unused, own] : of_image) units.push_back(std::move(own));
    const auto accuracy = [&](const std::vector<double>& right) {
      return bootstrap(
          units.size(),
          [&](std::span<const std::size_t> drawn) {
            double sum = 0, all = 0;
            for (const std::size_t unit : drawn)
              for (const std::size_t i : units[unit]) {
                sum += right[i];
                all += 1;
              }
            return 100 * sum / all;
          },
          options_.bootstrap);
    };
    const auto head_over = [&](const std::vector<double>& other) {
      std::vector<double> first, second;
      std::vector<std::size_t> cluster;
      for (const std::size_t i : members) {
        first.push_back(100 * by_head[i]);
        second.push_back(100 * other[i]);
        cluster.push_back(contrasts_[i].image);
      }
      return paired_difference(first, second, cluster);
    };
    const PairedDifference difference = head_over(by_cosine);
    Section::Row row{
        name,
        {Estimate{static_cast<double>(members.size()), kNoInterval, kNoInterval}, accuracy(by_head),
         accuracy(by_cosine), Estimate{difference.mean, kNoInterval, kNoInterval},
         Estimate{difference.standard_error, kNoInterval, kNoInterval}}};
    for (const Control& control : controls) {
      const PairedDifference over = head_over(control.right);
      row.cells.push_back(accuracy(control.right));
      row.cells.push_back(Estimate{over.mean, kNoInterval, kNoInterval});
      row.cells.push_back(Estimate{over.standard_error, kNoInterval, kNoInterval});
    }
    section.rows.push_back(std::move(row));
  };
  for (const auto& [kind, members] : of_kind) add(kind, members);
  std::vector<std::size_t> all(count);
  std::iota(all.begin(), all.end(), std::size_t{0});
  add("all", all);
  return section;
}

}  // namespace bifocal::training
