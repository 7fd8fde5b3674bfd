#pragma once

#include "training/records.h"
#include "training/train_config.h"

namespace bifocal::training {

struct DataSets {
  RecordSet train, validation;
};

// Those of `config`: data and validation; or the splits that `data` names; or a part of `data`,
// drawn with the seed. `grouped`: records of one image become one. Throws Error.
DataSets open_data_sets(const TrainConfig& config, bool grouped);

}  // namespace bifocal::training
