#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bifocal/options.h"
#include "bifocal/result.h"
#include "bifocal/values.h"
#include "engine/worker_pool.h"
#include "models/fusion_model.h"
#include "vision/codec.h"

namespace bifocal::engine {

// Items in, floats out: decodes and tokenises in parallel, batches by side and length, runs the
// model on its workers, and puts every result back in its place. Synchronous.
// Thread-safe: concurrent calls share the workers. One item's Error never touches another item.
class Session {
 public:
  // `threads` as in WorkerPool.
  Session(std::shared_ptr<const models::FusionModel> model, int threads,
          const vision::DecodeLimits& limits);

  std::vector<Result<Embedding>> embed(std::span<const Item> items,
                                       const EmbedOptions& options) const;
  // Throws Error(kInvalidArgument) for a label set that the bundle does not have.
  std::vector<Result<Classification>> classify(std::span<const Item> items,
                                               const ClassifyOptions& options) const;
  // An item without both sides is an Error(kInvalidItem) in its place.
  std::vector<Result<Match>> match(std::span<const Item> items) const;

  const models::FusionModel& model() const noexcept { return *model_; }

 private:
  std::shared_ptr<const models::FusionModel> model_;
  vision::DecodeLimits limits_;
  std::unique_ptr<WorkerPool> workers_;
};

}  // namespace bifocal::engine
