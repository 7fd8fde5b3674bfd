#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace bifocal::http::wire {

// JSON for answers: keys in the order written, and float numbers, so that a vector's values are
// written as the shortest decimals that read back as the same float.
using AnswerJson = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool,
                                        std::int64_t, std::uint64_t, float>;

// As it goes to the client: in UTF-8, what is not UTF-8 in it replaced (U+FFFD).
std::string text_of(const AnswerJson& value);

}  // namespace bifocal::http::wire
