#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bifocal/options.h"
#include "bifocal/values.h"
#include "text/tokenizer.h"
#include "vision/codec.h"

namespace bifocal::models {
class FusionModel;
}

namespace bifocal::engine {

// An item decoded and tokenised: all that a forward pass needs of it.
struct PreparedItem {
  std::vector<float> pixels;            // [3, H, W] of the model's preprocessing; empty: no image
  std::vector<text::Encoding> windows;  // empty: no text; several only for LongText::kWindows
  Provenance provenance;
  std::chrono::steady_clock::duration decoding{}, tokenizing{};  // what it took
};

// Throws Error for what the item itself has wrong: nothing to embed, the wanted side absent, bytes
// that do not decode, text that is not UTF-8. Thread-safe.
PreparedItem prepare_item(const Item& item, const EmbedOptions& options,
                          const models::FusionModel& model, const vision::DecodeLimits& limits,
                          bool scaled_decode);

}  // namespace bifocal::engine
