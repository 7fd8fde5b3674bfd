#pragma once

#include <memory>

#include "text/bert.h"
#include "text/tokenizer.h"
#include "training/train_config.h"
#include "vision/efficientnet.h"
#include "vision/preprocess.h"

namespace bifocal::training {

// Both towers as a run begins with them, in eval mode, and what turns files into their inputs.
struct Encoders {
  vision::EfficientNet vision{nullptr};
  vision::Preprocess preprocess;
  text::Bert text{nullptr};
  std::unique_ptr<text::Tokenizer> tokenizer;
};

// Those of config.vision and config.text. Throws Error: kInvalidArgument where a directory is not
// named, kNotFound, kInvalidBundle.
Encoders load_encoders(const TrainConfig& config);

// `config` with the encoders of from_bundle written out as vision and text. Throws
// Error(kInvalidArgument) where both are named.
TrainConfig with_encoders_of_bundle(TrainConfig config);

}  // namespace bifocal::training
