#include "training/teacher.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "cached_arrays.h"
#include "core/safetensors.h"
#include "encoding_steps.h"
#include "models/bundle.h"
#include "nn/weights.h"
#include "vision/codec.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

// [rows, e] as `make` writes them, or wrote them for the same things before.
at::Tensor vectors_of(const Teacher& teacher, const EncodingOptions& options,
                      const std::string& name, const nlohmann::json& made_from, std::int64_t rows,
                      const std::function<nlohmann::json(ArrayWriter&)>& make) {
  const std::int64_t size = teacher.model->fusion_config().embedding_size;
  return cached_arrays(options.cache, name, made_from, {{"vectors", {rows, size}}}, make)
      .arrays[0]
      .to(at::kFloat);
}

at::Tensor image_vectors(const Teacher& teacher, const RecordSet& records,
                         const EncodingOptions& options) {
  const auto rows = static_cast<std::int64_t>(records.size());
  std::vector<std::size_t> all(records.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  const nlohmann::json made_from = {{"kind", "teacher's images"},
                                    {"bundle", teacher.made_of},
                                    {"images", digest_of_images(records, all)}};
  const auto make = [&](ArrayWriter& writer) {
    share_out(all.size(), options, 1, all.size(), [&](std::size_t row) {
      const vision::VisionOutput features = teacher.model->encode_images(
          views_of(vision::decode(records.read_image(row)), teacher.model->preprocess(), {}, row));
      writer.write(0, static_cast<std::int64_t>(row),
                   teacher.model->fuse(&features, nullptr).embedding);
    });
    return nlohmann::json::object();
  };
  return vectors_of(teacher, options, "teacher-images", made_from, rows, make);
}

at::Tensor caption_vectors(const Teacher& teacher, const std::vector<std::string>& texts,
                           const EncodingOptions& options) {
  const auto rows = static_cast<std::int64_t>(texts.size());
  const TokenIds tokens = token_ids(texts, teacher.model->tokenizer(), teacher.model->max_tokens());
  const nlohmann::json made_from = {
      {"kind", "teacher's captions"}, {"bundle", teacher.made_of}, {"token_ids", tokens.digest}};
  const auto make = [&](ArrayWriter& writer) {
    const std::vector<std::vector<std::size_t>> groups = groups_of_one_length(tokens);
    share_out(groups.size(), options, kTextsTogether, texts.size(), [&](std::size_t group) {
      const at::Tensor ids = tokens.batch(groups[group]);  // [B, L]
      const models::TextFeatures features =
          teacher.model->encode_texts(ids, at::zeros_like(ids), at::ones_like(ids, at::kBool));
      const at::Tensor vectors = teacher.model->fuse(nullptr, &features).embedding;  // [B, e]
      for (std::size_t i = 0; i < groups[group].size(); ++i)
        writer.write(0, static_cast<std::int64_t>(groups[group][i]),
                     vectors[static_cast<std::int64_t>(i)]);
    });
    return nlohmann::json::object();
  };
  return vectors_of(teacher, options, "teacher-captions", made_from, rows, make);
}

}  // namespace

Teacher load_teacher(const fs::path& directory) {
  const models::Bundle bundle = models::Bundle::open(directory);
  Teacher teacher;
  teacher.model = models::FusionModel::load(bundle, nn::Precision::kFp32);
  teacher.made_of["fusion"] = bundle.fusion().to_json();
  for (const models::BundleFile& file : bundle.files())
    if (file.path.find('/') != std::string::npos && !file.path.starts_with("training/"))
      teacher.made_of["files"][file.path] = file.sha256;
  const auto weights = core::Safetensors::open(bundle.fusion_weights());
  teacher.scale = std::exp(nn::read_state_dict(weights).at("logit_scale").item<double>());
  return teacher;
}

TeacherVectors teacher_vectors(const std::vector<Teacher>& teachers, const RecordSet& records,
                               const std::vector<std::string>& texts,
                               const EncodingOptions& options) {
  if (teachers.empty()) return {};
  std::vector<at::Tensor> images, captions;
  for (const Teacher& teacher : teachers) {
    const double weight = std::sqrt(teacher.scale / static_cast<double>(teachers.size()));
    images.push_back(weight * image_vectors(teacher, records, options));
    captions.push_back(weight * caption_vectors(teacher, texts, options));
  }
  return {at::cat(images, 1), at::cat(captions, 1)};
}

}  // namespace bifocal::training
