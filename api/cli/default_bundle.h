#pragma once

#include <filesystem>

namespace bifocal::cli {

// The bundle that a command uses without --model: beside the build directory of this program
// (../bundles/default), then under the prefix it is installed in
// (../share/bifocal/bundles/default), then $BIFOCAL_MODEL.
// Throws Error(kNotFound) that names every place looked at.
std::filesystem::path find_default_bundle();

}  // namespace bifocal::cli
