#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/fusion_model.h"
#include "training/feature_cache.h"
#include "training/records.h"

namespace bifocal::training {

// A bundle that was trained before, from which another learns (Hinton et al. 2015).
struct Teacher {
  std::shared_ptr<const models::FusionModel> model;
  nlohmann::json made_of;  // the SHA-256 of every file that its vectors depend on
  double scale = 1;        // of cosines in its contrastive loss
};

// Throws Error: kNotFound, kInvalidBundle, kUnsupported.
Teacher load_teacher(const std::filesystem::path& bundle);

// What teachers make of a training set: vectors whose products are the logits of their contrastive
// losses. Those of several stand side by side, so that the products are the mean of their logits.
struct TeacherVectors {
  at::Tensor images;    // [N, E] float32, of the pictures as when serving
  at::Tensor captions;  // [M, E]

  bool defined() const noexcept { return images.defined(); }
};

// Of every record of `records`, each with an image, and of all `texts`. They are computed once and
// kept as the features of frozen towers are; undefined without teachers. Throws as encode_images().
TeacherVectors teacher_vectors(const std::vector<Teacher>& teachers, const RecordSet& records,
                               const std::vector<std::string>& texts,
                               const EncodingOptions& options);

}  // namespace bifocal::training
