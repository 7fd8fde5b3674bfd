#pragma once

#include <filesystem>
#include <vector>

#include "models/bundle.h"

namespace bifocal::testing {

// Real encoders of toy size with random weights, in `directory`/vision and /text: what always must
// be tested needs no download. The same weights on every call.
models::BundleParts write_tiny_encoders(const std::filesystem::path& directory,
                                        std::vector<fusion::LabelSet> label_sets = {});

// The same, joined into a bundle at `directory`/bundle, whose path it returns.
std::filesystem::path write_tiny_bundle(const std::filesystem::path& directory,
                                        std::vector<fusion::LabelSet> label_sets = {});

}  // namespace bifocal::testing
