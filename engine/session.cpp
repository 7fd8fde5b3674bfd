#include "engine/session.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <functional>
#include <future>
#include <numeric>
#include <utility>

#include "bifocal/error.h"
#include "engine/model_info.h"
#include "models/bundle.h"
#include "nn/kernel_choice.h"
#include "nn/packed_weights.h"
#include "nn/precision.h"
#include "text/tokenizer.h"

namespace bifocal::engine {
namespace {

// The mean of unit vectors is shorter than one.
void normalise(std::vector<float>& vector) {
  const double norm = std::sqrt(std::inner_product(
      vector.begin(), vector.end(), vector.begin(), 0.0, std::plus<>(),
      [](float a, float b) { return static_cast<double>(a) * static_cast<double>(b); }));
  for (float& value : vector)
    value = static_cast<float>(static_cast<double>(value) / std::max(norm, 1e-12));
}

float sigmoid(float logit) { return 1 / (1 + std::exp(-logit)); }

// Of one class among all; or of each label on its own, where any number may hold.
std::vector<float> probabilities(const std::vector<float>& logits, bool multi_label) {
  std::vector<float> values;
  if (multi_label) {
    for (const float logit : logits) values.push_back(sigmoid(logit));
    return values;
  }
  const float highest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - highest));
  for (const float logit : logits)
    values.push_back(static_cast<float>(std::exp(static_cast<double>(logit - highest)) / total));
  return values;
}

std::vector<LabelScore> best_labels(const std::vector<float>& logits, const fusion::LabelSet& set,
                                    std::size_t top_k) {
  const std::vector<float> values = probabilities(logits, set.multi_label);
  std::vector<LabelScore> scores;
  for (std::size_t i = 0; i < values.size(); ++i) scores.push_back({set.labels[i], values[i]});
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

Embedding finish_embedding(Outcome outcome) {
  // One window is a unit vector already, to the last bit.
  if (outcome.provenance.windows > 1) normalise(outcome.values);
  return {std::move(outcome.values), outcome.provenance};
}

Match finish_match(Outcome outcome) {
  const float logit = outcome.values[0];
  return {sigmoid(logit), logit, outcome.values[1], outcome.provenance};
}

std::function<Classification(Outcome)> finish_classification(const fusion::LabelSet& set,
                                                             std::size_t top_k) {
  return [set, top_k](Outcome outcome) {
    return Classification{set.name, best_labels(outcome.values, set, top_k), outcome.provenance};
  };
}

EmbedOptions preparation_of(const ClassifyOptions& options) {
  EmbedOptions preparation;
  preparation.side = options.side;
  return preparation;
}

template <typename T>
std::vector<Result<T>> finish_all(std::vector<Result<Outcome>> outcomes,
                                  const std::function<T(Outcome)>& finish) {
  std::vector<Result<T>> results;
  results.reserve(outcomes.size());
  for (Result<Outcome>& outcome : outcomes) {
    if (outcome.ok())
      results.emplace_back(finish(std::move(outcome).value()));
    else
      results.emplace_back(outcome.error());
  }
  return results;
}

nn::Precision compiled_precision(Precision precision) {
  switch (precision) {
    case Precision::kAuto:
      return nn::fastest_precision();
    case Precision::kBf16:
      return nn::Precision::kBf16;
    case Precision::kInt8:
      return nn::Precision::kInt8;
    case Precision::kFp32:
      break;
  }
  return nn::Precision::kFp32;
}

// 1 x 1 pixel, grey, as PNG (ISO/IEC 15948).
constexpr std::array<unsigned char, 67> kGreyPixel{
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0xda, 0x45, 0x08, 0x3b, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

// What `check` throws is what is told, not what came of reading a damaged file.
std::shared_ptr<const models::FusionModel> load_beside(const std::function<void()>& check,
                                                       const models::Bundle& bundle,
                                                       nn::Precision precision,
                                                       nn::PackedWeights& packed) {
  std::future<void> checked = std::async(std::launch::async, check);
  std::shared_ptr<const models::FusionModel> model;
  std::exception_ptr failure;
  try {
    model = models::FusionModel::load(bundle, precision, &packed);
  } catch (...) {
    failure = std::current_exception();
  }
  checked.get();
  if (failure) std::rethrow_exception(failure);
  return model;
}

// From packed weights where there are such for this bundle and program, else from its own files.
std::shared_ptr<const models::FusionModel> load(const models::Bundle& bundle,
                                                const LoadOptions& options) {
  const nn::Precision precision = compiled_precision(options.precision);
  const auto packed_weights = [&] {
    return nn::PackedWeights(bundle.packed_weights(precision),
                             options.packed_weights ? bundle.fingerprint() : std::string());
  };
  const auto verify = [&] {
    if (options.verify_checksums) bundle.verify_checksums();
  };
  nn::PackedWeights packed = packed_weights();
  if (packed.found()) {
    bool intact = true;
    const auto verify_packed = [&] {
      if (!options.verify_checksums) return;
      intact = packed.verify();
      bundle.verify_checksums_but_of_encoders();
    };
    auto model = load_beside(verify_packed, bundle, precision, packed);
    if (intact && packed.had_all()) return model;
    packed.remove();
    packed = packed_weights();
  }
  auto model = load_beside(verify, bundle, precision, packed);
  if (options.verify_checksums) packed.save();  // what nobody has checked is not kept
  return model;
}

}  // namespace

Session Session::open(const std::filesystem::path& path, const LoadOptions& options,
                      std::shared_ptr<Engine> engine) {
  const models::Bundle bundle = models::Bundle::open(path);
  if (options.tune) nn::forget_choices();
  std::shared_ptr<const models::FusionModel> model = load(bundle, options);
  ModelInfo info = describe(bundle, *model);
  return Session(std::move(model), std::move(info),
                 {options.max_image_pixels, options.max_image_bytes}, options.scaled_decode,
                 std::move(engine));
}

JobRequest Session::request(std::span<const Item> items, const Task& task,
                            const EmbedOptions& options) const {
  JobRequest request;
  request.model = model_;
  request.task = task;
  request.options = options;
  request.decode_limits = limits_;
  request.scaled_decode = scaled_decode_;
  request.items = items;
  return request;
}

template <typename T>
Ticket Session::submit(Items items, JobRequest request, const Call& call,
                       std::function<T(Outcome)> finish, Done<T> done) const {
  request.owner = std::move(items);
  request.client = call.client;
  request.deadline = call.deadline;
  request.done = [finish = std::move(finish), done = std::move(done)](JobResult result) {
    done({finish_all(std::move(result.outcomes), finish), result.times});
  };
  return engine_->submit(std::move(request), call.limits);
}

template <typename T>
std::vector<Result<T>> Session::wait(JobRequest request,
                                     const std::function<T(Outcome)>& finish) const {
  std::promise<std::vector<Result<Outcome>>> promise;
  request.done = [&promise](JobResult result) { promise.set_value(std::move(result.outcomes)); };
  engine_->submit(std::move(request));
  return finish_all(promise.get_future().get(), finish);
}

std::vector<Result<Embedding>> Session::embed(std::span<const Item> items,
                                              const EmbedOptions& options) const {
  return wait<Embedding>(request(items, {Task::Kind::kEmbed}, options), finish_embedding);
}

std::vector<Result<Classification>> Session::classify(std::span<const Item> items,
                                                      const ClassifyOptions& options) const {
  const std::size_t set = find_label_set(model_->fusion_config(), options.label_set);
  return wait<Classification>(
      request(items, {Task::Kind::kClassify, set}, preparation_of(options)),
      finish_classification(model_->fusion_config().label_sets[set], options.top_k));
}

std::vector<Result<Match>> Session::match(std::span<const Item> items) const {
  return wait<Match>(request(items, {Task::Kind::kMatch}, {}), finish_match);
}

Ticket Session::embed(Items items, const EmbedOptions& options, const Call& call,
                      Done<Embedding> done) const {
  JobRequest job = request(*items, {Task::Kind::kEmbed}, options);
  return submit<Embedding>(std::move(items), std::move(job), call, finish_embedding,
                           std::move(done));
}

Ticket Session::classify(Items items, const ClassifyOptions& options, const Call& call,
                         Done<Classification> done) const {
  const std::size_t set = find_label_set(model_->fusion_config(), options.label_set);
  JobRequest job = request(*items, {Task::Kind::kClassify, set}, preparation_of(options));
  return submit<Classification>(
      std::move(items), std::move(job), call,
      finish_classification(model_->fusion_config().label_sets[set], options.top_k),
      std::move(done));
}

Ticket Session::match(Items items, const Call& call, Done<Match> done) const {
  JobRequest job = request(*items, {Task::Kind::kMatch}, {});
  return submit<Match>(std::move(items), std::move(job), call, finish_match, std::move(done));
}

Ticket Session::token_states(Items items, const EmbedOptions& options, const Call& call,
                             Done<TokenStates> done) const {
  EmbedOptions text_only = options;
  text_only.side = Side::kText;
  if (text_only.long_text == LongText::kWindows)
    throw Error(ErrorCode::kInvalidArgument,
                "the states of tokens are given for one window; truncate instead");
  const auto hidden = static_cast<std::size_t>(model_->fusion_config().text_hidden_size);
  const auto finish = [hidden](Outcome outcome) {
    return TokenStates{std::move(outcome.values), hidden, outcome.provenance};
  };
  JobRequest job = request(*items, {Task::Kind::kTokenStates}, text_only);
  return submit<TokenStates>(std::move(items), std::move(job), call, finish, std::move(done));
}

Tokenization Session::tokenize(std::string_view text, bool add_special_tokens,
                               std::int64_t max_tokens) const {
  const text::Tokenizer& tokenizer = model_->tokenizer();
  const std::int64_t limit = max_tokens < 0    ? 0
                             : max_tokens == 0 ? model_->max_tokens()
                                               : std::min(max_tokens, model_->max_tokens());
  const text::Encoding encoding =
      tokenizer.encode(text, {static_cast<std::size_t>(limit), add_special_tokens});
  Tokenization result;
  result.cut_tokens = encoding.cut_tokens;
  result.tokens.reserve(encoding.ids.size());
  for (std::size_t i = 0; i < encoding.ids.size(); ++i)
    result.tokens.push_back({encoding.ids[i], tokenizer.piece(encoding.ids[i]),
                             encoding.spans[i].begin, encoding.spans[i].end, encoding.special[i]});
  return result;
}

std::string Session::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  return model_->tokenizer().decode(ids, skip_special_tokens);
}

Embedding Session::check(const Call& call) const {
  auto items = std::make_shared<std::vector<Item>>(1);
  const auto* pixel = reinterpret_cast<const std::byte*>(kGreyPixel.data());
  items->front().image.emplace(pixel, pixel + kGreyPixel.size());
  items->front().text = "a";
  std::promise<Result<Embedding>> promise;
  embed(items, {}, call, [&promise](Answer<Embedding> answer) {
    promise.set_value(std::move(answer.results.front()));
  });
  return promise.get_future().get().value();
}

}  // namespace bifocal::engine
