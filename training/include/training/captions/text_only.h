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
// for each that it gets wrong beside it. `shift` is added to all margins first. A model knows a
// bias less well than it is: between pairs that it holds for right and for wrong with like margins
// the part that it does not know remains, and a shift upwards takes that away. Returns the indices
// that stay, ascending.
std::vector<std::size_t> balanced_by(const TextOnlyClassifier& model,
                                     std::span<const Contrast> pairs, double shift = 0);

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
};

// Edits the captions of `train` and `measured`, and keeps of each kind of `measured` what is
// balanced by a text-only model (adversarial filtering, Le Bras et al. 2020), with the least shift
// at which another such model is right less than `most_text_only` percent of the time; or with the
// last one that leaves 100 pairs. The first model learns from a half of the images of train, the
// other from a quarter, and the control of the rows from the last quarter: it decides nothing, so
// that its figures are not flattered by the choice of the shift. The pairs of train are balanced by
// what learned from other images than theirs. Nothing learns from `measured`. Throws
// Error(kInvalidArgument) where a set has no contrast.
EditedCaptions edit_captions(const RecordSet& train, const RecordSet& measured, std::uint64_t seed,
                             double most_text_only = 53);

}  // namespace bifocal::training
