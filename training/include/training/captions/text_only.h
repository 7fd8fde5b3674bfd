#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "training/records.h"

namespace bifocal::training {

// Which of two texts looks true without having seen the picture: logistic regression on the
// difference of their word n-grams (one to three words, and pairs with one left out), hashed, by
// AdaGrad. What differs between an edited caption and a real one is what such a model finds.
class TextOnlyClassifier {
 public:
  // `seed`: of the order of the pairs, and of the hash. Deterministic.
  TextOnlyClassifier(std::span<const Contrast> pairs, std::uint64_t seed);
  // Above 0: the true text looks true.
  double margin(const Contrast& pair) const;
  double accuracy(std::span<const Contrast> pairs) const;  // percent; a tie counts half

 private:
  std::uint64_t seed_;
  std::vector<float> weights_;
};

// Contrasts of which a text-only model is right as often as wrong, at every margin and for every
// kind: by kind the pairs are sorted by how sure the model is, and one that it gets right is kept
// for each that it gets wrong beside it; of those right ones the share `surest` of which it is the
// most sure is left out too. Returns the indices that stay, ascending.
std::vector<std::size_t> balanced_by(const TextOnlyClassifier& model,
                                     std::span<const Contrast> pairs, double surest = 0);

struct EditedCaptions {
  std::vector<RecordSet> sets;  // train, then the others, each record with its contrasts that stay
  struct Row {
    std::string kind;            // "all" last
    std::size_t found = 0;       // pairs of the measured set, before filtering
    std::size_t kept = 0;        // and after
    double text_only_found = 0;  // percent: how often a text-only control is right
    double text_only_kept = 0;
  };
  std::vector<Row> rows;
  std::size_t rounds = 0;
};

// Edits the captions of `train` and `measured`, and filters them until a text-only control, which
// took no part in filtering, is right less than `most_text_only` percent of the time on `measured`
// (adversarial filtering, Le Bras et al. 2020), or kMostFilterRounds models have filtered. The
// control learns from a quarter of the images of train, the filters from the others; the pairs of
// train are filtered by what learned from other images than theirs. Nothing learns from `measured`.
// Throws Error(kInvalidArgument) where a set has no contrast.
EditedCaptions edit_captions(const RecordSet& train, const RecordSet& measured, std::uint64_t seed,
                             double most_text_only = 53);
inline constexpr std::size_t kMostFilterRounds = 16;

}  // namespace bifocal::training
