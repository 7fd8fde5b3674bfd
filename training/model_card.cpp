#include "training/model_card.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace bifocal::training {

std::string fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string last_part(const std::string& path) {
  const std::filesystem::path whole = std::filesystem::absolute(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::string bundle_name(const TrainConfig& config) {
  return config.name.empty() ? last_part(config.out) : config.name;
}

double processor_hours() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC / 3600; }

std::string card_head(const std::string& tags) {
  return "---\nlicense: other\nlicense_name: that-of-the-training-data\nlibrary_name: "
         "bifocal\ntags:\n" +
         tags + "---\n\n";
}

std::string card_licences() {
  return "## Licences\n\n"
         "The weights are made from the training data and from both encoders: their licences "
         "bind you. Data\nthat is offered for research alone gives weights for research alone.\n";
}

}  // namespace bifocal::training
