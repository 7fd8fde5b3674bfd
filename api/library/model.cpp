#include "bifocal/model.h"

#include <utility>

#include "engine/session.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "text/tokenizer.h"

namespace bifocal {
namespace {

PartInfo part_info(std::string name, const models::PartCost& cost) {
  return {std::move(name), cost.architecture, cost.parameters, cost.multiply_adds};
}

ModelInfo describe(const models::Bundle& bundle, const models::FusionModel& model) {
  ModelInfo info;
  info.name = bundle.name();
  info.licence = bundle.licence();
  info.path = bundle.directory();
  info.embedding_size = model.fusion_config().embedding_size;
  info.max_tokens = model.max_tokens();
  info.image_height = model.preprocess().height;
  info.image_width = model.preprocess().width;
  info.parts = {part_info("vision", model.vision_cost()), part_info("text", model.text_cost()),
                part_info("fusion", model.fusion_cost())};
  for (const fusion::LabelSet& set : model.fusion_config().label_sets)
    info.label_sets.push_back({set.name, set.labels});
  info.card = bundle.card();
  return info;
}

}  // namespace

struct Model::State {
  engine::Session session;
  ModelInfo info;
};

Model::Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Model Model::load(const std::filesystem::path& path, const LoadOptions& options) {
  const models::Bundle bundle = models::Bundle::open(path);
  if (options.verify_checksums) bundle.verify_checksums();
  auto model = models::FusionModel::load(bundle, nn::Precision::kFp32);
  ModelInfo info = describe(bundle, *model);
  return Model(std::shared_ptr<const State>(
      new State{engine::Session(std::move(model), options.threads,
                                {options.max_image_pixels, options.max_image_bytes}),
                std::move(info)}));
}

Result<Embedding> Model::embed(const Item& item, const EmbedOptions& options) const {
  return std::move(embed(std::span(&item, 1), options).front());
}

std::vector<Result<Embedding>> Model::embed(std::span<const Item> items,
                                            const EmbedOptions& options) const {
  return state_->session.embed(items, options);
}

Result<Classification> Model::classify(const Item& item, const ClassifyOptions& options) const {
  return std::move(classify(std::span(&item, 1), options).front());
}

std::vector<Result<Classification>> Model::classify(std::span<const Item> items,
                                                    const ClassifyOptions& options) const {
  return state_->session.classify(items, options);
}

Result<Match> Model::match(const Item& item) const {
  return std::move(match(std::span(&item, 1)).front());
}

std::vector<Result<Match>> Model::match(std::span<const Item> items) const {
  return state_->session.match(items);
}

Result<Tokenization> Model::tokenize(std::string_view text) const {
  const models::FusionModel& model = state_->session.model();
  try {
    const text::Encoding encoding = model.tokenizer().encode(
        text, {static_cast<std::size_t>(model.max_tokens()), /*add_special_tokens=*/true});
    Tokenization result;
    result.cut_tokens = encoding.cut_tokens;
    for (std::size_t i = 0; i < encoding.ids.size(); ++i)
      result.tokens.push_back({encoding.ids[i], model.tokenizer().piece(encoding.ids[i]),
                               encoding.spans[i].begin, encoding.spans[i].end,
                               encoding.special[i]});
    return result;
  } catch (const Error& error) {
    return error;
  }
}

const ModelInfo& Model::info() const noexcept { return state_->info; }

}  // namespace bifocal
