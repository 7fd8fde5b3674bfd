#include "engine/session.h"

#include <ATen/ops/stack.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>
#include <string>
#include <utility>

#include "bifocal/error.h"
#include "engine/forward.h"
#include "engine/item_preparation.h"

namespace bifocal::engine {
namespace {

// Items decoded at a time: bounds memory (0.6 MB a picture at 224) however long the span is.
constexpr std::size_t kChunk = 128;

Result<PreparedItem> prepare_safely(const Item& item, const EmbedOptions& options,
                                    const models::FusionModel& model,
                                    const vision::DecodeLimits& limits) {
  try {
    return prepare_item(item, options, model, limits);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kInternal, "there was not enough memory for this item");
  } catch (const std::exception& unexpected) {
    return Error(ErrorCode::kInternal, "the item could not be read; please report it",
                 unexpected.what());
  }
}

struct Serving {
  const models::FusionModel& model;
  const vision::DecodeLimits& limits;
  WorkerPool& workers;
};

// prepare -> run -> finish for each item, a chunk at a time.
template <typename T>
std::vector<Result<T>> serve(const Serving& serving, std::span<const Item> items,
                             const EmbedOptions& options, const Head& head,
                             const std::function<T(Outcome&)>& finish) {
  std::vector<Result<T>> results;
  results.reserve(items.size());
  for (std::size_t start = 0; start < items.size(); start += kChunk) {
    const auto chunk = items.subspan(start, std::min(kChunk, items.size() - start));
    std::vector<Result<PreparedItem>> prepared(
        chunk.size(), Error(ErrorCode::kInternal, "the item was not prepared"));
    serving.workers.for_each(chunk.size(), [&](std::size_t i) {
      prepared[i] = prepare_safely(chunk[i], options, serving.model, serving.limits);
    });
    for (auto& outcome : run_forward(prepared, serving.model, head, serving.workers)) {
      if (!outcome.ok()) {
        results.emplace_back(outcome.error());
        continue;
      }
      Outcome value = std::move(outcome).value();
      results.emplace_back(finish(value));
    }
  }
  return results;
}

// The mean of unit vectors is shorter than one.
void normalise(std::vector<float>& vector) {
  const double norm = std::sqrt(std::inner_product(
      vector.begin(), vector.end(), vector.begin(), 0.0, std::plus<>(),
      [](float a, float b) { return static_cast<double>(a) * static_cast<double>(b); }));
  for (float& value : vector)
    value = static_cast<float>(static_cast<double>(value) / std::max(norm, 1e-12));
}

std::vector<LabelScore> best_labels(const std::vector<float>& logits,
                                    const std::vector<std::string>& labels, std::size_t top_k) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - highest));
  std::vector<LabelScore> scores;
  for (std::size_t i = 0; i < logits.size(); ++i)
    scores.push_back({labels[i], static_cast<float>(
                                     std::exp(static_cast<double>(logits[i] - highest)) / total)});
  std::stable_sort(scores.begin(), scores.end(),
                   [](const LabelScore& a, const LabelScore& b) { return a.score > b.score; });
  if (top_k > 0 && scores.size() > top_k) scores.resize(top_k);
  return scores;
}

std::size_t find_label_set(const fusion::FusionConfig& config, const std::string& name) {
  const auto& sets = config.label_sets;
  if (sets.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "this bundle has no label set: it cannot classify; train one on your own labels");
  if (name.empty() && sets.size() == 1) return 0;
  std::string known;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    if (sets[i].name == name) return i;
    known += (known.empty() ? "" : ", ") + sets[i].name;
  }
  throw Error(ErrorCode::kInvalidArgument,
              name.empty() ? "this bundle has several label sets; name one of: " + known
                           : "there is no label set \"" + name + "\"; this bundle has: " + known);
}

}  // namespace

Session::Session(std::shared_ptr<const models::FusionModel> model, int threads,
                 const vision::DecodeLimits& limits)
    : model_(std::move(model)), limits_(limits), workers_(std::make_unique<WorkerPool>(threads)) {}

std::vector<Result<Embedding>> Session::embed(std::span<const Item> items,
                                              const EmbedOptions& options) const {
  const Head head = [](const models::FusionModel& model, const vision::VisionOutput* images,
                       const models::TextFeatures* texts) {
    return model.fuse(images, texts).embedding;
  };
  return serve<Embedding>({*model_, limits_, *workers_}, items, options, head,
                          [](Outcome& outcome) {
                            // One window is a unit vector already, to the last bit.
                            if (outcome.provenance.windows > 1) normalise(outcome.values);
                            return Embedding{std::move(outcome.values), outcome.provenance};
                          });
}

std::vector<Result<Classification>> Session::classify(std::span<const Item> items,
                                                      const ClassifyOptions& options) const {
  const std::size_t index = find_label_set(model_->fusion_config(), options.label_set);
  const fusion::LabelSet& set = model_->fusion_config().label_sets[index];
  const Head head = [index](const models::FusionModel& model, const vision::VisionOutput* images,
                            const models::TextFeatures* texts) {
    return model.classify(model.fuse(images, texts), index);
  };
  EmbedOptions preparation;
  preparation.side = options.side;
  return serve<Classification>(
      {*model_, limits_, *workers_}, items, preparation, head, [&](Outcome& outcome) {
        return Classification{set.name, best_labels(outcome.values, set.labels, options.top_k),
                              outcome.provenance};
      });
}

std::vector<Result<Match>> Session::match(std::span<const Item> items) const {
  const Head head = [](const models::FusionModel& model, const vision::VisionOutput* images,
                       const models::TextFeatures* texts) {
    if (images == nullptr || texts == nullptr)
      throw Error(ErrorCode::kInvalidItem,
                  "needs both an image and a text: a match is between the two");
    const at::Tensor cosine = at::sum(
        model.fuse(images, nullptr).embedding * model.fuse(nullptr, texts).embedding, -1);  // [B]
    return at::stack({model.match(model.fuse(images, texts)), cosine}, 1);  // [B, 2]
  };
  return serve<Match>({*model_, limits_, *workers_}, items, {}, head, [](Outcome& outcome) {
    const float logit = outcome.values[0];
    return Match{1 / (1 + std::exp(-logit)), logit, outcome.values[1], outcome.provenance};
  });
}

}  // namespace bifocal::engine
