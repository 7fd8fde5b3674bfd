#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::cli {

// The word of `known` that someone who typed `word` most likely meant; empty if none is close.
// Close: within one edit (insertion, deletion, replacement, swap) for every three letters.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// What to tell someone whose command line `root` could not make sense of: which word is wrong,
// what may have been meant, and where to read on.
std::string explain(const CLI::App& root, const CLI::ParseError& error);

}  // namespace bifocal::cli
