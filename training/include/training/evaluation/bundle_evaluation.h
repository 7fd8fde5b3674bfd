#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "training/evaluation/bootstrap.h"
#include "training/evaluation/encoded_set.h"
#include "training/evaluation/section.h"
#include "training/records.h"

namespace bifocal::training {

struct EvaluationOptions {
  BootstrapOptions bootstrap;
  std::size_t rerank = 20;  // candidates that the match head puts in order; 0: no re-ranking
  std::uint64_t seed = 1;   // of the random captions
};

// A bundle on one data set: every image and text is encoded once, at construction. Each member is
// one task; its has_ function says whether the data has what the task needs, and without it the
// task throws Error(kInvalidArgument) saying what is missing. Intervals resample images with all
// that belongs to them. Const members are thread-safe.
class BundleEvaluation {
 public:
  // Takes images that cannot be decoded out of the set; records() lists them among the skipped.
  BundleEvaluation(const SetEncoder& encoder, const RecordSet& records, EvaluationOptions options);

  const RecordSet& records() const noexcept { return records_; }
  std::size_t images() const noexcept { return images_; }
  std::size_t texts() const noexcept { return texts_.size(); }
  std::size_t cut_texts() const noexcept { return encoded_texts_.cut; }

  // Recall at 1, 5 and 10 and the median rank in both directions, by vectors and with the best
  // candidates in the match head's order, and the differences.
  bool has_retrieval() const;  // at least two images, each with a text
  std::vector<Section> retrieval() const;

  // Is this caption the image's? Against captions of other images: random ones, and those nearest
  // to the true one by the text encoder.
  bool has_match() const { return has_retrieval(); }
  std::vector<Section> match() const;

  // The query is an image with its first caption, the gallery the other captions of all images.
  bool has_fused() const;  // and each with a second one
  std::vector<Section> fused() const;

  // By text alone, by image alone and by both. Records whose labels the set does not have are
  // skipped and counted in the note.
  bool has_classes() const;  // labels, and a label set in the bundle
  std::vector<Section> classes(std::size_t label_set) const;

  // Which of two texts is true of the image, by kind: the higher score of the match head, and of
  // the cosine. `controls` adds columns: of each contrast whether that control got it right.
  struct Control {
    std::string name;
    std::vector<double> right;  // [contrasts]: 1, 0, or 0.5 where it gave both the same score
  };
  bool has_contrasts() const noexcept { return !contrasts_.empty(); }
  Section contrasts(const std::vector<Control>& controls = {}) const;

  // What the controls of contrasts are made from.
  struct EncodedContrast {
    std::string kind;
    std::size_t image = 0;                      // row of encoded_images()
    std::size_t true_text = 0, false_text = 0;  // rows of encoded_texts()
  };
  const std::vector<EncodedContrast>& encoded_contrasts() const noexcept { return contrasts_; }
  const EncodedImages& encoded_images() const noexcept { return encoded_images_; }
  const EncodedTexts& encoded_texts() const noexcept { return encoded_texts_; }

 private:
  struct RecordText {
    std::size_t image = kAbsent;  // row of its record's image
    std::size_t row = 0;          // of encoded_texts_, which has each distinct text once
    bool is_first = false;        // of its record
  };
  // Those of texts that belong to images, in order: the captions.
  std::vector<RecordText> captions() const;
  at::Tensor vectors_of(const std::vector<RecordText>& texts) const;

  const SetEncoder& encoder_;
  EvaluationOptions options_;
  RecordSet records_;
  EncodedImages encoded_images_;
  EncodedTexts encoded_texts_;
  std::size_t images_ = 0;
  std::vector<std::size_t> image_of_record_;  // [records], or kAbsent
  std::vector<std::size_t> text_of_record_;   // [records]: the row of its first text, or kAbsent
  std::vector<RecordText> texts_;
  std::vector<EncodedContrast> contrasts_;
};

}  // namespace bifocal::training
