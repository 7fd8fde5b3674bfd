#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "training/captions/text_only.h"
#include "training/records.h"

namespace bifocal::training {

struct EditedCaptions {
  // train, then the others: every record, with its contrasts that stay, if any.
  std::vector<RecordSet> sets;
  struct Row {
    std::string kind;            // "all" last
    std::size_t found = 0;       // pairs of the measured set, before filtering
    std::size_t kept = 0;        // and after
    double text_only_found = 0;  // percent: how often the text-only control is right
    double text_only_kept = 0;
  };
  std::vector<Row> rows;
};

// Edits the captions of `train` and `measured`, and keeps of each kind of `measured` what is
// balanced by a text-only model (adversarial filtering, Le Bras et al. 2020), with the least shift
// at which another such model is right less than `most_text_only` percent of the time; or with the
// last one that leaves 100 pairs. The first model learns from a half of the images of train, the
// other from a quarter, and the control of the rows from the last quarter: it decides nothing, so
// that its figures are not flattered by the choice of the shift. The pairs of train are balanced by
// what learned from other images than theirs. Nothing learns from `measured`.
//
// Each model is one of word n-grams; where there are `vectors`, together with one on those, which
// sees a bias that n-grams do not. Throws Error(kInvalidArgument) where a set has no contrast.
EditedCaptions edit_captions(const RecordSet& train, const RecordSet& measured, std::uint64_t seed,
                             double most_text_only = 53,
                             const std::shared_ptr<TextVectors>& vectors = nullptr);

}  // namespace bifocal::training
