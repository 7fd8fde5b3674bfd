#include "engine/model_info.h"

#include <string>
#include <utility>

namespace bifocal::engine {
namespace {

PartInfo part_info(std::string name, const models::PartCost& cost) {
  return {std::move(name), cost.architecture, cost.parameters, cost.multiply_adds};
}

}  // namespace

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

}  // namespace bifocal::engine
