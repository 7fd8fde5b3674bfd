#include "bifocal/model.h"

#include <utility>

#include "engine/engine.h"
#include "engine/session.h"

namespace bifocal {
struct Model::State {
  engine::Session session;
};

Model::Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Model Model::load(const std::filesystem::path& path, const LoadOptions& options) {
  engine::EngineOptions threads;
  threads.workers = options.threads;
  threads.threads_per_worker = options.threads_per_worker;
  return Model(std::make_shared<const State>(
      State{engine::Session::open(path, options, std::make_shared<engine::Engine>(threads))}));
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
  try {
    return state_->session.tokenize(text);
  } catch (const Error& error) {
    return error;
  }
}

const ModelInfo& Model::info() const noexcept { return state_->session.info(); }

}  // namespace bifocal
