#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "training/random.h"
#include "training/records.h"

namespace bifocal::training {

// Captions of which one word is exchanged for another of its kind (colour, number, animal, gender,
// place, action), or two nouns are swapped: which of the two is true of the picture?
//
// What a word is exchanged for is drawn by how often the captions have it, is in no caption of the
// same image, and has the same number and form; "a" and "an" are set right. Nouns are swapped only
// where that changes who does what: never across "and", "with" and their like.
class CaptionEditor {
 public:
  // Counts words of the captions of `records`, whose captions should be those to train on.
  explicit CaptionEditor(const RecordSet& records);

  // At most one contrast of each kind for each caption, in their order; the same for the same
  // `random`. Thread-safe.
  std::vector<Contrast> edits(const std::vector<std::string>& captions, Random random) const;

 private:
  std::map<std::string, double> frequency_;  // of words in lower case
};

// Lower-case words and single marks of a caption: "a", "dog", ",".
std::vector<std::string> caption_words(const std::string& caption);

}  // namespace bifocal::training
