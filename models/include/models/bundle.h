#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fusion/fusion_config.h"
#include "nn/precision.h"

namespace bifocal::models {

// 2: label sets have multi_label, pooled and hidden_size; the fusion layer may have match_cosine.
// 3: the fusion layer may have match_late_interaction.
// 4: its visual tokens may have a detail_stage.
inline constexpr int kBundleFormatVersion = 4;

struct BundleFile {
  std::string path;  // relative to the bundle, '/' between folders, never outside of it
  std::uint64_t bytes = 0;
  std::string sha256;
};

// One directory: bifocal.json, vision/, text/, fusion/ and the card README.md, each encoder in the
// Hugging Face Hub's layout. A value type: nothing is kept open.
class Bundle {
 public:
  // Reads and checks bifocal.json, and that every file it lists is there with the size it says.
  // Throws Error: kNotFound (no such directory, or no bifocal.json in it), kInvalidBundle (the
  // manifest, or a file missing or of another size), kUnsupported (a newer format_version).
  static Bundle open(const std::filesystem::path& directory);

  // Compares each file with its SHA-256. Throws Error(kInvalidBundle) naming the first that
  // differs.
  void verify_checksums() const;
  // The same but for the weights of the two encoders, where those come packed from another file.
  void verify_checksums_but_of_encoders() const;
  // Changes with any of its files: their names, sizes, SHA-256 by the manifest, and times of
  // writing. Throws Error(kInvalidBundle) where one has gone since.
  std::string fingerprint() const;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  std::filesystem::path vision_directory() const { return directory_ / "vision"; }
  std::filesystem::path text_directory() const { return directory_ / "text"; }
  std::filesystem::path fusion_weights() const {
    return directory_ / "fusion" / "model.safetensors";
  }
  // Where packed weights are kept for the next start; no file of the bundle.
  std::filesystem::path packed_weights(nn::Precision precision) const;

  int format_version() const noexcept { return format_version_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& licence() const noexcept { return licence_; }
  const fusion::FusionConfig& fusion() const noexcept { return fusion_; }
  const std::vector<BundleFile>& files() const noexcept { return files_; }
  std::string card() const;  // README.md, or empty

 private:
  void verify(const BundleFile& file) const;

  std::filesystem::path directory_;
  int format_version_ = 0;
  std::string name_;
  std::string licence_;
  fusion::FusionConfig fusion_;
  std::vector<BundleFile> files_;
};

// What a bundle is made of.
struct BundleParts {
  std::string name;
  std::string licence;           // SPDX, or what the card says
  std::filesystem::path vision;  // config.json, model.safetensors[, preprocessor_config.json]
  std::optional<std::filesystem::path>
      vision_delta;  // safetensors whose weights replace those of `vision`
  std::optional<std::filesystem::path> preprocessor;  // replaces the vision directory's own
  std::filesystem::path text;  // config.json, model.safetensors, tokenizer files
  std::optional<std::filesystem::path>
      text_delta;  // safetensors whose weights replace those of `text`
  fusion::FusionConfig fusion;
  std::optional<std::filesystem::path> fusion_weights;  // absent: fresh weights from `seed`
  std::uint64_t seed = 0;
  std::optional<std::filesystem::path> card;  // README.md
  // Further files to keep, by their path in the bundle: "training/config.json".
  std::map<std::string, std::filesystem::path> records;
};

// A directory with config.json (FusionConfig) and model.safetensors: fills `fusion` and
// `fusion_weights` of `parts`. Throws Error.
void use_fusion_directory(BundleParts& parts, const std::filesystem::path& directory);

// Writes the bundle beside `out`, loads it as a check that its parts fit together, and only then
// renames it to `out`: a bundle that exists is whole. Where `out` exists: replaced if `replace`,
// otherwise Error(kInvalidArgument). Sizes of the fusion config that the encoders decide
// (vision_channels, text_hidden_size) must be theirs: Error(kInvalidBundle) says both.
void write_bundle(const BundleParts& parts, const std::filesystem::path& out, bool replace);

}  // namespace bifocal::models
