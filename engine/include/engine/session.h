#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bifocal/model.h"
#include "bifocal/options.h"
#include "bifocal/result.h"
#include "bifocal/values.h"
#include "engine/engine.h"
#include "vision/codec.h"

namespace bifocal::engine {

// Who asks, until when, and under which limits (null: none).
struct Call {
  std::string client;
  std::optional<Clock::time_point> deadline;
  const AdmissionLimits* limits = nullptr;
};

template <typename T>
struct Answer {
  std::vector<Result<T>> results;  // one an item, in the order given
  JobTimes times;
};
template <typename T>
using Done = std::function<void(Answer<T>)>;  // as JobRequest::done

// The text encoder's last layer for one text.
struct TokenStates {
  std::vector<float> values;  // [tokens, hidden_size], special tokens included
  std::size_t hidden_size = 0;
  Provenance provenance;
};

using Items = std::shared_ptr<const std::vector<Item>>;

// One bundle on an engine: items in, values out. Thread-safe. One item's Error never touches
// another item. A session may go while its jobs run.
class Session {
 public:
  // Throws Error: kNotFound, kInvalidBundle, kIo.
  static Session open(const std::filesystem::path& bundle, const LoadOptions& options,
                      std::shared_ptr<Engine> engine);
  Session(std::shared_ptr<const models::FusionModel> model, ModelInfo info,
          const vision::DecodeLimits& limits, bool scaled_decode, std::shared_ptr<Engine> engine)
      : model_(std::move(model)),
        info_(std::move(info)),
        limits_(limits),
        scaled_decode_(scaled_decode),
        engine_(std::move(engine)) {}

  // These wait. classify() throws Error(kInvalidArgument) for a label set that the bundle does not
  // have; for match(), an item without both sides is an Error(kInvalidItem) in its place.
  std::vector<Result<Embedding>> embed(std::span<const Item> items,
                                       const EmbedOptions& options) const;
  std::vector<Result<Classification>> classify(std::span<const Item> items,
                                               const ClassifyOptions& options) const;
  std::vector<Result<Match>> match(std::span<const Item> items) const;

  // These do not wait: `done` is called later, on a thread of the engine. They throw as submit()
  // does, and as their waiting forms.
  Ticket embed(Items items, const EmbedOptions& options, const Call& call,
               Done<Embedding> done) const;
  Ticket classify(Items items, const ClassifyOptions& options, const Call& call,
                  Done<Classification> done) const;
  Ticket match(Items items, const Call& call, Done<Match> done) const;
  // Text longer than the model reads is cut, or refused; windows are not made.
  Ticket token_states(Items items, const EmbedOptions& options, const Call& call,
                      Done<TokenStates> done) const;

  // The pieces of a text. Throws Error(kInvalidText). max_tokens as in EmbedOptions; -1: all.
  Tokenization tokenize(std::string_view text, bool add_special_tokens = true,
                        std::int64_t max_tokens = 0) const;
  // Throws Error(kInvalidArgument) for an id that is none.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const;

  // A forward pass of one image and text, always the same, through the queue like any other. Throws
  // the Error of what does not work; how the model was warmed up, how a server knows that it is
  // alive, and by the vector, whether two bundles are one model.
  Embedding check(const Call& call = {}) const;

  const models::FusionModel& model() const noexcept { return *model_; }
  const ModelInfo& info() const noexcept { return info_; }
  Engine& engine() const noexcept { return *engine_; }

 private:
  JobRequest request(std::span<const Item> items, const Task& task,
                     const EmbedOptions& options) const;
  template <typename T>
  Ticket submit(Items items, JobRequest request, const Call& call, std::function<T(Outcome)> finish,
                Done<T> done) const;
  template <typename T>
  std::vector<Result<T>> wait(JobRequest request, const std::function<T(Outcome)>& finish) const;

  std::shared_ptr<const models::FusionModel> model_;
  ModelInfo info_;
  vision::DecodeLimits limits_;
  bool scaled_decode_;
  std::shared_ptr<Engine> engine_;
};

}  // namespace bifocal::engine
