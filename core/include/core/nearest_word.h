#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bifocal::core {

// The word of `known` that someone who wrote `word` most likely meant; empty if none is close.
// Close: within one edit (insertion, deletion, replacement, swap) for every three letters.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace bifocal::core
