#include "training/data_sets.h"

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

RecordSet open(const std::string& path, const TrainConfig& config, bool grouped) {
  RecordOptions options;
  options.images = config.images;
  const RecordSet records = RecordSet::open(path, options);
  return grouped ? records.grouped_by_image() : records;
}

}  // namespace

DataSets open_data_sets(const TrainConfig& config, bool grouped) {
  if (config.data.empty())
    throw Error(ErrorCode::kInvalidArgument, "data is missing: --data names what to train on");
  const RecordSet all = open(config.data, config, grouped);
  if (!config.validation.empty()) return {all, open(config.validation, config, grouped)};
  if (RecordSet validation = all.of_split("validation"); !validation.empty())
    return {all.of_split("train"), std::move(validation)};
  const TrainValidation parts =
      split_train_validation(all, config.validation_share, static_cast<std::uint64_t>(config.seed));
  return {all.subset(parts.train), all.subset(parts.validation)};
}

}  // namespace bifocal::training
