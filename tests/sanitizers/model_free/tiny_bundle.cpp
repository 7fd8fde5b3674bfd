#include "tiny_bundle.h"

#include <string>
#include <utility>

#include "core/files.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/sha256.h"
#include "vision/preprocess.h"

namespace bifocal::testing {
namespace {

constexpr std::int64_t kEmbeddingSize = 24;

void write_tensor(const std::filesystem::path& path, std::span<const float> values) {
  core::write_safetensors(
      path,
      {{"weights",
        {core::DType::kF32, {static_cast<std::int64_t>(values.size())}, std::as_bytes(values)}}});
}

}  // namespace

// What tests/support/tiny_bundle.cpp writes, but for the networks.
std::filesystem::path write_tiny_bundle(const std::filesystem::path& directory,
                                        std::vector<fusion::LabelSet> label_sets) {
  const std::filesystem::path bundle = directory / "bundle";
  for (const char* part : {"vision", "text", "fusion"})
    std::filesystem::create_directories(bundle / part);
  vision::Preprocess preprocess;
  preprocess.resize = vision::Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.resize_width = preprocess.height = preprocess.width = 64;
  core::write_file_atomically(bundle / "vision/config.json", "{}");
  core::write_file_atomically(bundle / "vision/preprocessor_config.json",
                              preprocess.to_json().dump());
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n";
  for (const char* word : {"a", "red", "dog", "cat", "runs", "sleeps", "house", "on", "the"})
    vocabulary += std::string(word) + "\n";
  for (char letter = 'a'; letter <= 'z'; ++letter)
    vocabulary += (letter == 'a' ? "" : std::string(1, letter) + "\n") + "##" + letter + "\n";
  core::write_file_atomically(bundle / "text/vocab.txt", vocabulary);
  core::write_file_atomically(bundle / "text/config.json",
                              R"({"model_type": "bert", "max_tokens": 24})");
  const std::vector<float> none(1), weights = [] {
    std::vector<float> rising(kEmbeddingSize);
    for (std::size_t i = 0; i < rising.size(); ++i) rising[i] = 1 + 0.1F * static_cast<float>(i);
    return rising;
  }();
  for (const char* part : {"vision", "text"})
    write_tensor(bundle / part / "model.safetensors", none);
  write_tensor(bundle / "fusion/model.safetensors", weights);

  fusion::FusionConfig fusion;
  fusion.hidden_size = 16;
  fusion.embedding_size = kEmbeddingSize;
  fusion.num_attention_heads = 4;
  fusion.intermediate_size = 32;
  fusion.label_sets = std::move(label_sets);
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(bundle)) {
    if (!entry.is_regular_file()) continue;
    const core::MappedFile mapped = core::MappedFile::open(entry.path());
    files[entry.path().lexically_relative(bundle).generic_string()] = {
        {"bytes", mapped.bytes().size()}, {"sha256", core::sha256_hex(mapped.bytes())}};
  }
  const nlohmann::json manifest = {{"format_version", models::kBundleFormatVersion},
                                   {"name", "tiny"},
                                   {"licence", "Apache-2.0"},
                                   {"fusion", fusion.to_json()},
                                   {"files", std::move(files)}};
  core::write_file_atomically(bundle / "bifocal.json", manifest.dump());
  return bundle;
}

}  // namespace bifocal::testing
