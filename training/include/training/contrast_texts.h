#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "training/feature_cache.h"
#include "training/random.h"
#include "training/records.h"

namespace bifocal::training {

// The contrasts of some records, each distinct text encoded once.
struct ContrastTexts {
  struct Pair {
    std::size_t kind = 0;                        // of `kinds`
    std::size_t record = 0;                      // whose image shows the true text
    std::int64_t true_text = 0, false_text = 0;  // rows of `texts`
    std::size_t partners = 0;                    // of `partners`
  };
  CaptionFeatures texts;           // [M, ...]
  std::vector<Pair> pairs;         // record by record
  std::vector<std::size_t> first;  // [N + 1]: pairs first[i] to first[i + 1] are record i's
  // Records of whose images the false text holds, ascending: ContrastPartners. Empty where they
  // were not asked for.
  std::vector<std::vector<std::int64_t>> partners;
  std::vector<std::string> kinds;  // sorted

  // At most `most` contrasts of a record, of kinds `of_kinds` (ascending) alone, in drawn order.
  std::vector<std::size_t> draw(std::size_t record, const std::vector<std::size_t>& of_kinds,
                                std::size_t most, Random& random) const;
};

// Those of `records`, whose places are the rows of their images. `tower`, `layers`, `max_tokens`,
// `options` and what is thrown: as encode_captions() has them. `kinds`: sorted, every kind that
// there is.
ContrastTexts encode_contrasts(const RecordSet& records, const std::vector<std::string>& kinds,
                               const text::Bert& tower, const text::Tokenizer& tokenizer,
                               std::int64_t layers, std::int64_t max_tokens, bool with_partners,
                               const EncodingOptions& options);

// The kinds of contrast of all `sets`, sorted.
std::vector<std::string> kinds_of_contrasts(std::initializer_list<const RecordSet*> sets);

}  // namespace bifocal::training
