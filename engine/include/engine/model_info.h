#pragma once

#include "bifocal/model.h"
#include "models/bundle.h"
#include "models/fusion_model.h"

namespace bifocal::engine {

// What the public API tells of a loaded bundle.
ModelInfo describe(const models::Bundle& bundle, const models::FusionModel& model);

}  // namespace bifocal::engine
