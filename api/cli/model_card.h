#pragma once

#include <string>
#include <string_view>

namespace bifocal::cli {

// The licence that a model card's front matter names: license, or license_name where that is
// "other"; "unknown" where it names none. https://huggingface.co/docs/hub/model-cards
std::string licence_of_card(std::string_view card);

// What stands under the card's heading "Quality" (or "Evaluation", "Results") up to the next
// heading of its level; empty without one.
std::string quality_of_card(std::string_view card);

}  // namespace bifocal::cli
