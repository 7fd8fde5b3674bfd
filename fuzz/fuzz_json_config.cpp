#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "vision/preprocess.h"

namespace {

using namespace bifocal;

// Getters of every type on every member: each gives a value of its range or an Error.
void read_members(const core::JsonConfig& config) {
  for (const auto& member : config.json().items()) {
    const std::string& key = member.key();
    const auto attempt = [](auto read) {
      try {
        read();
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kInvalidBundle) std::abort();
      }
    };
    attempt([&] {
      const std::int64_t value = config.integer(key, -5, 1 << 20);
      if (value < -5 || value > 1 << 20) std::abort();
    });
    attempt([&] { config.number(key); });
    attempt([&] { config.boolean_or(key, false); });
    attempt([&] { config.string(key); });
    attempt([&] { config.numbers(key); });
    attempt([&] { config.strings(key); });
    attempt([&] { read_members(config.child(key)); });
    attempt([&] {
      for (const core::JsonConfig& child : config.children(key)) read_members(child);
    });
  }
}

// What is understood is written and read back unchanged, and can be used.
void check_preprocess(const core::JsonConfig& config) {
  const vision::Preprocess preprocess = vision::Preprocess::from_config(config);
  const core::JsonConfig written(preprocess.to_json(), "written");
  if (!(vision::Preprocess::from_config(written) == preprocess)) std::abort();
  if (preprocess.height * preprocess.width > 1 << 16) return;
  const vision::Image image{3, 5, std::vector<std::uint8_t>(45, 200)};
  const vision::Image prepared = vision::prepare(image, preprocess);
  if (prepared.height != preprocess.height || prepared.width != preprocess.width ||
      prepared.pixels.size() != static_cast<std::size_t>(3 * preprocess.height * preprocess.width))
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const core::JsonConfig config = core::JsonConfig::parse(
        std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    read_members(config);
    check_preprocess(config);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidBundle) std::abort();
  }
  return 0;
}
