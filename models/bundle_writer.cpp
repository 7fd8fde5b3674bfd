#include <unistd.h>

#include <array>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/sha256.h"
#include "fusion/fusion_transformer.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "nn/weights.h"

namespace bifocal::models {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kVisionFiles{"config.json", "model.safetensors",
                                                       "preprocessor_config.json"};
constexpr std::array<std::string_view, 9> kTextFiles{"config.json",
                                                     "model.safetensors",
                                                     "tokenizer.json",
                                                     "tokenizer_config.json",
                                                     "special_tokens_map.json",
                                                     "vocab.txt",
                                                     "sentencepiece.bpe.model",
                                                     "sentence_bert_config.json",
                                                     "1_Pooling/config.json"};

[[noreturn]] void fail(const fs::path& path, std::string_view what, const std::error_code& why) {
  throw Error(ErrorCode::kIo,
              path.string() + ": " + std::string(what) + " (" + why.message() + ")");
}

void make_directories(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) fail(path, "cannot be created", failure);
}

void place_file(const fs::path& from, const fs::path& to) {
  make_directories(to.parent_path());
  std::error_code failure;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, failure);
  if (failure) fail(to, "cannot be copied from " + from.string(), failure);
}

template <std::size_t N>
void copy_known_files(const fs::path& from, const fs::path& to,
                      const std::array<std::string_view, N>& names) {
  if (!fs::is_directory(from))
    throw Error(ErrorCode::kNotFound, from.string() + ": there is no such directory");
  for (const std::string_view name : {names[0], names[1]})
    if (!fs::exists(from / name))
      throw Error(ErrorCode::kNotFound, from.string() + ": has no " + std::string(name));
  for (const std::string_view name : names)
    if (fs::exists(from / name)) place_file(from / name, to / name);
}

// Replaces weights by name: how tuned layers travel without the encoder they were tuned from.
void apply_delta(const fs::path& weights_path, const fs::path& delta_path,
                 const std::string& encoder) {
  nn::StateDict weights = nn::read_state_dict(core::Safetensors::open(weights_path));
  for (auto& [name, tensor] : nn::read_state_dict(core::Safetensors::open(delta_path))) {
    const auto found = weights.find(name);
    if (found == weights.end())
      throw Error(ErrorCode::kInvalidBundle, delta_path.string() + ": " + name +
                                                 " is not a weight of the " + encoder + " encoder");
    if (found->second.sizes() != tensor.sizes())
      throw Error(ErrorCode::kInvalidBundle, delta_path.string() + ": " + name +
                                                 " has another shape than in the " + encoder +
                                                 " encoder");
    found->second = tensor;
  }
  nn::write_state_dict(weights_path, weights, core::DType::kF32);
}

void write_fresh_fusion(const fs::path& path, const fusion::FusionConfig& config,
                        std::uint64_t seed) {
  fusion::FusionTransformer module(config);
  fusion::initialise(*module, seed);
  nn::write_state_dict(path, nn::state_dict_of(*module), core::DType::kF32);
}

void write_parts(const BundleParts& parts, const fs::path& out) {
  copy_known_files(parts.vision, out / "vision", kVisionFiles);
  if (parts.preprocessor)
    place_file(*parts.preprocessor, out / "vision" / "preprocessor_config.json");
  if (parts.vision_delta)
    apply_delta(out / "vision" / "model.safetensors", *parts.vision_delta, "vision");
  copy_known_files(parts.text, out / "text", kTextFiles);
  // Any other name of a SentencePiece model becomes the one that the layout knows.
  for (const char* name : {"sentencepiece.model", "spiece.model", "tokenizer.model"})
    if (fs::exists(parts.text / name))
      place_file(parts.text / name, out / "text" / "sentencepiece.bpe.model");
  if (parts.text_delta) apply_delta(out / "text" / "model.safetensors", *parts.text_delta, "text");

  make_directories(out / "fusion");
  const fs::path fusion_weights = out / "fusion" / "model.safetensors";
  if (parts.fusion_weights)
    place_file(*parts.fusion_weights, fusion_weights);
  else
    write_fresh_fusion(fusion_weights, parts.fusion, parts.seed);
  if (parts.card) place_file(*parts.card, out / "README.md");
  for (const auto& [path, file] : parts.records) place_file(file, out / path);
}

void write_manifest(const BundleParts& parts, const fs::path& out) {
  nlohmann::json fusion = parts.fusion.to_json();
  if (!parts.fusion.label_sets.empty()) {
    const nlohmann::json labels = {{"label_sets", fusion.at("label_sets")}};
    core::write_file_atomically(out / "fusion" / "labels.json", labels.dump(2) + "\n");
  }
  fusion.erase("label_sets");

  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file()) continue;
    const core::MappedFile mapped = core::MappedFile::open(entry.path());
    files[entry.path().lexically_relative(out).generic_string()] = {
        {"bytes", mapped.bytes().size()}, {"sha256", core::sha256_hex(mapped.bytes())}};
  }
  const nlohmann::json manifest = {{"format_version", kBundleFormatVersion},
                                   {"name", parts.name},
                                   {"licence", parts.licence},
                                   {"fusion", std::move(fusion)},
                                   {"files", std::move(files)}};
  core::write_file_atomically(out / "bifocal.json", manifest.dump(2) + "\n");
}

// Removed on every path out but the one that kept it.
struct PartialDirectory {
  fs::path path;
  ~PartialDirectory() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

void publish(const fs::path& from, const fs::path& to) {
  const PartialDirectory previous{to.string() + ".previous-" + std::to_string(::getpid())};
  std::error_code failure;
  const bool existed = fs::exists(to);
  if (existed) fs::rename(to, previous.path, failure);
  if (failure) fail(to, "cannot be replaced", failure);
  fs::rename(from, to, failure);
  if (!failure) return;
  std::error_code ignored;
  if (existed) fs::rename(previous.path, to, ignored);
  fail(to, "cannot be created", failure);
}

}  // namespace

void use_fusion_directory(BundleParts& parts, const fs::path& directory) {
  parts.fusion =
      fusion::FusionConfig::from_config(core::JsonConfig::read(directory / "config.json"));
  parts.fusion_weights = directory / "model.safetensors";
}

void write_bundle(const BundleParts& parts, const fs::path& out, bool replace) {
  if (fs::exists(out) && !replace)
    throw Error(ErrorCode::kInvalidArgument,
                out.string() + ": exists; remove it, or ask for it to be replaced");
  const fs::path target = fs::absolute(out).lexically_normal();
  const PartialDirectory partial{target.string() + ".partial-" + std::to_string(::getpid())};
  make_directories(partial.path);
  write_parts(parts, partial.path);
  write_manifest(parts, partial.path);
  FusionModel::load(Bundle::open(partial.path), nn::Precision::kFp32);
  publish(partial.path, target);
}

}  // namespace bifocal::models
