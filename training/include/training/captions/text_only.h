#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "training/records.h"

namespace bifocal::training {

// Which of two texts looks true without having seen the picture.
class TextOnlyModel {
 public:
  virtual ~TextOnlyModel() = default;
  // Of each pair; above 0: the true text looks true.
  virtual std::vector<double> margins(std::span<const Contrast> pairs) const = 0;
  double accuracy(std::span<const Contrast> pairs) const;  // percent; a tie counts half
};

// Logistic regression on the difference of their word n-grams (one to three words, and pairs with
// one left out), hashed, by AdaGrad. What differs between an edited caption and a real one is what
// such a model finds.
class NgramModel : public TextOnlyModel {
 public:
  // `seed`: of the order of the pairs, and of the hash. Deterministic.
  NgramModel(std::span<const Contrast> pairs, std::uint64_t seed);
  std::vector<double> margins(std::span<const Contrast> pairs) const override;

 private:
  std::uint64_t seed_;
  std::vector<float> weights_;
};

// Vectors of texts, each of which is encoded once.
class TextVectors {
 public:
  // [texts, H] float32
  using Encode = std::function<at::Tensor(const std::vector<std::string>& texts)>;
  explicit TextVectors(Encode encode) : encode_(std::move(encode)) {}
  // [2 * pairs, H]: of all true texts, then of all false ones.
  at::Tensor of(std::span<const Contrast> pairs);

 private:
  Encode encode_;
  std::unordered_map<std::string, std::int64_t> rows_;  // of vectors_
  at::Tensor vectors_;
};

// An MLP on the vector that a text encoder gives: what it knows of the world's texts tells more of
// a pair than its words, which it has seen in few captions.
class TextVectorModel : public TextOnlyModel {
 public:
  // Deterministic for a number of threads.
  TextVectorModel(std::span<const Contrast> pairs, std::shared_ptr<TextVectors> vectors,
                  std::uint64_t seed);
  ~TextVectorModel() override;
  std::vector<double> margins(std::span<const Contrast> pairs) const override;

 private:
  struct Network;
  std::shared_ptr<TextVectors> vectors_;
  std::unique_ptr<Network> network_;
};

// Contrasts of which a text-only model is right as often as wrong, at every margin and for every
// kind: by kind the pairs are sorted by how sure the model is, and one that it gets right is kept
// for each that it gets wrong beside it. `shift` is added to all margins first. A model knows a
// bias less well than it is: between pairs that it holds for right and for wrong with like margins
// the part that it does not know remains, and a shift upwards takes that away. Returns the indices
// that stay, ascending.
std::vector<std::size_t> balanced_by(std::span<const double> margins,
                                     std::span<const Contrast> pairs, double shift = 0);

}  // namespace bifocal::training
