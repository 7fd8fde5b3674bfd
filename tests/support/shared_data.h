#pragma once

#include <cstdlib>
#include <filesystem>

namespace bifocal::testing {

// Data that is not part of the repository: $BIFOCAL_SHARED_DATA, otherwise ../shared/data. Tests
// that need it skip, saying so, where a file is absent.
inline std::filesystem::path shared_data(const std::filesystem::path& relative) {
  if (const char* set = std::getenv("BIFOCAL_SHARED_DATA"); set != nullptr)
    return std::filesystem::path(set) / relative;
  return std::filesystem::path(BIFOCAL_SOURCE_DIR) / ".." / "shared" / "data" / relative;
}

}  // namespace bifocal::testing

#define BIFOCAL_REQUIRE_DATA(path)                                              \
  if (!std::filesystem::exists(path))                                           \
  GTEST_SKIP() << path << " is absent: it is not shipped with the repository; " \
               << "set BIFOCAL_SHARED_DATA to a directory that has it"
