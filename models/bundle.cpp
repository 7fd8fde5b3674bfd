#include "models/bundle.h"

#include <limits>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/mapped_file.h"
#include "core/sha256.h"
#include "nn/packed_weights.h"

namespace bifocal::models {
namespace {

constexpr std::string_view kVisionWeights = "vision/model.safetensors";
constexpr std::string_view kTextWeights = "text/model.safetensors";
constexpr std::string_view kRequired[] = {"vision/config.json", kVisionWeights, "text/config.json",
                                          kTextWeights, "fusion/model.safetensors"};

// A manifest may come from anywhere: it must not make us read outside of its directory.
bool stays_inside(const std::filesystem::path& relative) {
  if (relative.empty() || relative.is_absolute()) return false;
  for (const auto& part : relative)
    if (part == ".." || part == ".") return false;
  return true;
}

std::vector<BundleFile> read_file_list(const core::JsonConfig& manifest) {
  const core::JsonConfig list = manifest.child("files");
  std::vector<BundleFile> files;
  for (const auto& [path, unused] : list.json().items()) {
    if (!stays_inside(path)) throw list.wrong(path, "is not a path inside of the bundle");
    const core::JsonConfig entry = list.child(path);
    files.push_back({path,
                     static_cast<std::uint64_t>(
                         entry.integer("bytes", 0, std::numeric_limits<std::int64_t>::max())),
                     entry.string("sha256")});
  }
  for (const std::string_view required : kRequired)
    if (!list.has(required)) throw list.wrong(required, "is missing; every bundle has it");
  return files;
}

void check_sizes(const std::filesystem::path& directory, const std::vector<BundleFile>& files) {
  for (const BundleFile& file : files) {
    std::error_code failure;
    const auto bytes = std::filesystem::file_size(directory / file.path, failure);
    if (failure)
      throw Error(
          ErrorCode::kInvalidBundle,
          directory.string() + ": " + file.path + " is missing, though bifocal.json lists it",
          failure.message());
    if (bytes != file.bytes)
      throw Error(ErrorCode::kInvalidBundle,
                  directory.string() + ": " + file.path + " has " + std::to_string(bytes) +
                      " bytes, bifocal.json says " + std::to_string(file.bytes) +
                      "; the bundle is damaged: make or copy it again");
  }
}

// Label sets live in a file of their own: they are the user's words, not the model's sizes.
fusion::FusionConfig read_fusion_config(const core::JsonConfig& manifest,
                                        const std::filesystem::path& directory) {
  nlohmann::json config = manifest.child("fusion").json();
  const std::filesystem::path labels = directory / "fusion" / "labels.json";
  if (std::filesystem::exists(labels)) config.update(core::JsonConfig::read(labels).json());
  return fusion::FusionConfig::from_config(
      core::JsonConfig(std::move(config), manifest.source() + ": fusion"));
}

}  // namespace

Bundle Bundle::open(const std::filesystem::path& directory) {
  const std::filesystem::path manifest_path = directory / "bifocal.json";
  if (!std::filesystem::is_directory(directory))
    throw Error(ErrorCode::kNotFound, directory.string() + ": there is no such bundle directory");
  if (!std::filesystem::exists(manifest_path))
    throw Error(ErrorCode::kNotFound, directory.string() +
                                          ": is not a bundle: it has no bifocal.json; `bifocal "
                                          "bundle` makes one from encoder directories");
  const core::JsonConfig manifest = core::JsonConfig::read(manifest_path);

  Bundle bundle;
  bundle.directory_ = directory;
  bundle.format_version_ = static_cast<int>(manifest.integer("format_version", 1, 1'000'000));
  if (bundle.format_version_ > kBundleFormatVersion)
    throw Error(ErrorCode::kUnsupported,
                manifest.source() + ": format_version " + std::to_string(bundle.format_version_) +
                    " is newer than this program, which reads up to " +
                    std::to_string(kBundleFormatVersion) + "; use a newer Bifocal");
  bundle.name_ = manifest.string_or("name", directory.filename().string());
  bundle.licence_ = manifest.string_or("licence", "unknown");
  bundle.files_ = read_file_list(manifest);
  check_sizes(directory, bundle.files_);
  bundle.fusion_ = read_fusion_config(manifest, directory);
  return bundle;
}

void Bundle::verify_checksums() const {
  for (const BundleFile& file : files_) verify(file);
}

void Bundle::verify_checksums_but_of_encoders() const {
  for (const BundleFile& file : files_)
    if (file.path != kVisionWeights && file.path != kTextWeights) verify(file);
}

void Bundle::verify(const BundleFile& file) const {
  const core::MappedFile mapped = core::MappedFile::open(directory_ / file.path);
  if (core::sha256_hex(mapped.bytes()) != file.sha256)
    throw Error(ErrorCode::kInvalidBundle,
                directory_.string() + ": " + file.path +
                    " is not the file that bifocal.json was written for (SHA-256 differs); the "
                    "bundle is damaged or was edited: make it again with `bifocal bundle`");
}

std::string Bundle::fingerprint() const {
  std::string all;
  for (const BundleFile& file : files_) {
    std::error_code failure;
    const auto written = std::filesystem::last_write_time(directory_ / file.path, failure);
    if (failure)
      throw Error(ErrorCode::kInvalidBundle,
                  directory_.string() + ": " + file.path + " cannot be examined",
                  failure.message());
    all += file.path + " " + std::to_string(file.bytes) + " " + file.sha256 + " " +
           std::to_string(written.time_since_epoch().count()) + "\n";
  }
  return core::sha256_hex(core::as_bytes(all));
}

std::filesystem::path Bundle::packed_weights(nn::Precision precision) const {
  return nn::PackedWeights::path_in(directory_, precision);
}

std::string Bundle::card() const {
  const std::filesystem::path path = directory_ / "README.md";
  return std::filesystem::exists(path) ? core::read_text_file(path, 1u << 20) : std::string();
}

}  // namespace bifocal::models
