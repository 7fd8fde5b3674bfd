#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "bifocal/result.h"
#include "bifocal/values.h"
#include "engine/batch_plan.h"
#include "engine/item_preparation.h"
#include "engine/worker_pool.h"
#include "models/fusion_model.h"

namespace bifocal::engine {

// The numbers asked of a batch of B rows, given what the towers made of it: [B, n] float32.
// A side that the batch does not have is null.
using Head =
    std::function<at::Tensor(const models::FusionModel& model, const vision::VisionOutput* images,
                             const models::TextFeatures* texts)>;

// One item's numbers: [n], averaged over the windows of its text by their tokens.
struct Outcome {
  std::vector<float> values;
  Provenance provenance;
};

// Runs every prepared item through towers and head, batch by batch on the workers; items that
// already failed keep their Error. A batch that fails is run again row by row, so that one item
// cannot fail its neighbours. NaN or infinity becomes Error(kNumerical).
std::vector<Result<Outcome>> run_forward(std::span<const Result<PreparedItem>> items,
                                         const models::FusionModel& model, const Head& head,
                                         WorkerPool& workers);

}  // namespace bifocal::engine
