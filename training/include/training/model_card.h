#pragma once

#include <filesystem>
#include <string>

#include "training/train_config.h"

namespace bifocal::training {

// What the cards of all presets share.

std::string fixed(double value, int digits = 1);     // "98.3"
std::string last_part(const std::string& path);      // "photos" of "data/photos/"
std::string bundle_name(const TrainConfig& config);  // config.name, else that of config.out
double processor_hours();                            // that this process has taken so far

// The YAML that the Hub reads, with one tag a line.
std::string card_head(const std::string& tags);
// "## Licences": whose licences bind who uses the weights.
std::string card_licences();

}  // namespace bifocal::training
