#include "tiny_bundle.h"

#include <torch/utils.h>

#include <string>
#include <utility>

#include "core/files.h"
#include "nn/weights.h"
#include "text/bert.h"
#include "text/bert_checkpoint.h"
#include "vision/efficientnet.h"
#include "vision/efficientnet_checkpoint.h"
#include "vision/preprocess.h"

namespace bifocal::testing {
namespace {

constexpr std::int64_t kChannels = 24;

void write_vision(const std::filesystem::path& directory) {
  vision::EfficientNetConfig config;
  config.name = "tiny";
  config.image_size = 64;
  config.stem_channels = 8;
  config.head_channels = kChannels;
  config.num_classes = 3;
  config.stages = {{vision::BlockKind::kMBConv, 1, 3, 1, 8, 8, 1, 0.25},
                   {vision::BlockKind::kMBConv, 4, 3, 2, 8, 16, 2, 0.25}};
  const vision::EfficientNet module(config);
  std::filesystem::create_directories(directory);
  core::write_file_atomically(directory / "config.json", vision::to_json(config).dump());
  nn::write_state_dict(directory / "model.safetensors", nn::state_dict_of(*module),
                       core::DType::kF32);
  vision::Preprocess preprocess;
  preprocess.resize = vision::Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.resize_width = preprocess.height = preprocess.width = 64;
  core::write_file_atomically(directory / "preprocessor_config.json", preprocess.to_json().dump());
}

void write_text(const std::filesystem::path& directory) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n";
  for (const char* word : {"a", "red", "dog", "cat", "runs", "sleeps", "house", "on", "the"})
    vocabulary += std::string(word) + "\n";
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    if (letter != 'a') vocabulary += std::string(1, letter) + "\n";
    vocabulary += std::string("##") + letter + "\n";
  }
  text::BertConfig config;
  config.vocab_size = 80;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 48;
  config.max_position_embeddings = 24;
  config.max_tokens = 24;
  const text::Bert module(config);
  const c10::NoGradGuard no_grad;
  for (auto& [name, weight] : nn::state_dict_of(*module))
    if (name.starts_with("embeddings.") && weight.dim() == 2) weight.normal_();
  std::filesystem::create_directories(directory);
  core::write_file_atomically(directory / "vocab.txt", vocabulary);
  core::write_file_atomically(directory / "config.json", config.to_json().dump());
  nn::write_state_dict(directory / "model.safetensors", nn::state_dict_of(*module),
                       core::DType::kF32);
}

}  // namespace

models::BundleParts write_tiny_encoders(const std::filesystem::path& directory,
                                        std::vector<fusion::LabelSet> label_sets) {
  torch::manual_seed(20);
  write_vision(directory / "vision");
  write_text(directory / "text");
  models::BundleParts parts;
  parts.name = "tiny";
  parts.licence = "Apache-2.0";
  parts.vision = directory / "vision";
  parts.text = directory / "text";
  parts.fusion.hidden_size = 16;
  parts.fusion.embedding_size = 24;
  parts.fusion.num_attention_heads = 4;
  parts.fusion.intermediate_size = 32;
  parts.fusion.vision_channels = kChannels;
  parts.fusion.text_hidden_size = 32;
  parts.fusion.label_sets = std::move(label_sets);
  parts.seed = 5;
  return parts;
}

std::filesystem::path write_tiny_bundle(const std::filesystem::path& directory,
                                        std::vector<fusion::LabelSet> label_sets) {
  models::write_bundle(write_tiny_encoders(directory, std::move(label_sets)), directory / "bundle",
                       /*replace=*/false);
  return directory / "bundle";
}

}  // namespace bifocal::testing
