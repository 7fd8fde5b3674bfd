#include "default_bundle.h"

#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

namespace fs = std::filesystem;

fs::path program_directory() {
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  return failure ? fs::path() : program.parent_path();
}

bool is_bundle(const fs::path& directory) {
  std::error_code failure;
  return fs::is_regular_file(directory / "bifocal.json", failure);
}

}  // namespace

fs::path find_default_bundle() {
  std::string looked;
  const auto found = [&looked](const fs::path& directory) {
    looked += "\n  " + directory.string();
    return is_bundle(directory);
  };

  if (const fs::path here = program_directory(); !here.empty()) {
    for (const char* place : {"bundles/default", "share/bifocal/bundles/default"}) {
      fs::path directory = here.parent_path() / place;
      if (found(directory)) return directory;
    }
  }
  const char* named = std::getenv("BIFOCAL_MODEL");
  if (named != nullptr && *named != '\0') {
    if (found(named)) return named;
    looked += " (BIFOCAL_MODEL)";
  } else {
    looked += "\n  BIFOCAL_MODEL, which is not set";
  }
  throw Error(ErrorCode::kNotFound,
              "no model: there is no bundle at any of these places:" + looked +
                  "\nRun `make` in Bifocal's source to make the default one, or name one with "
                  "--model DIR.");
}

}  // namespace bifocal::cli
