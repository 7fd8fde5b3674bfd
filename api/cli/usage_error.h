#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::cli {

// What to tell someone whose command line `root` could not make sense of: which word is wrong,
// what may have been meant, and where to read on.
std::string explain(const CLI::App& root, const CLI::ParseError& error);

}  // namespace bifocal::cli
