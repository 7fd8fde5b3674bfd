// How many items a second the library embeds in this process, with nothing between it and its
// caller: what bench/serving.py holds the server against. One JSON object.
//
//   bench_library --model BUNDLE --bodies FILE --seconds 5 [--warm-seconds 2]
//                 [--precision fp32|bf16|int8|auto] [--at-once 256] [--threads-per-worker 1]
//
// FILE is the one that bench_load sends: a request for /v1/fused/embeddings a line.

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bifocal/model.h"
#include "core/data_uri.h"

namespace {

struct Options {
  std::string model, bodies, precision = "fp32";
  double seconds = 5, warm_seconds = 2;
  std::size_t at_once = 256;
  int threads_per_worker = 1;
};

std::vector<bifocal::Item> read_items(const std::string& path) {
  std::vector<bifocal::Item> items;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json body = nlohmann::json::parse(line);
    for (const auto& one : body.at("items")) {
      bifocal::Item item;
      if (one.contains("text")) item.text = one["text"].get<std::string>();
      if (one.contains("image")) {
        item.image = bifocal::core::decode_data_uri(one["image"].get<std::string>(), 20'000'000);
      }
      items.push_back(std::move(item));
    }
  }
  if (items.empty()) throw std::runtime_error(path + " has no items");
  return items;
}

int run(const Options& options) {
  const std::map<std::string, bifocal::Precision> precisions = {
      {"fp32", bifocal::Precision::kFp32},
      {"bf16", bifocal::Precision::kBf16},
      {"int8", bifocal::Precision::kInt8},
      {"auto", bifocal::Precision::kAuto}};
  bifocal::LoadOptions load;
  load.precision = precisions.at(options.precision);
  load.threads_per_worker = options.threads_per_worker;
  const bifocal::Model model = bifocal::Model::load(options.model, load);
  const std::vector<bifocal::Item> items = read_items(options.bodies);
  using Clock = std::chrono::steady_clock;
  std::size_t next = 0;
  std::vector<bifocal::Item> some;
  const auto pass = [&] {
    some.clear();
    for (std::size_t i = 0; i < options.at_once; ++i) some.push_back(items[next++ % items.size()]);
    for (const auto& result : model.embed(std::span<const bifocal::Item>(some)))
      if (!result.ok()) throw result.error();
  };
  struct Slice {
    std::size_t items = 0;
    double seconds = 0;
  };
  const auto run_for = [&](double seconds) {
    Slice slice;
    const auto began = Clock::now();
    while (slice.seconds < seconds) {
      pass();
      slice.items += options.at_once;
      slice.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    }
    return slice;
  };
  run_for(options.warm_seconds);  // what is made once, and once for each shape
  const Slice slice = run_for(options.seconds);
  std::cout << "{\"items\": " << slice.items << ", \"seconds\": " << slice.seconds
            << ", \"per_second\": " << static_cast<double>(slice.items) / slice.seconds << "}\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Items a second of the library");
  Options options;
  app.add_option("--model", options.model)->required();
  app.add_option("--bodies", options.bodies)->required();
  app.add_option("--precision", options.precision)
      ->check(CLI::IsMember({"fp32", "bf16", "int8", "auto"}));
  app.add_option("--seconds", options.seconds);
  app.add_option("--warm-seconds", options.warm_seconds);
  app.add_option("--at-once", options.at_once)->check(CLI::PositiveNumber);
  app.add_option("--threads-per-worker", options.threads_per_worker)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::cerr << "bench_library: " << error.what() << '\n';
    return 1;
  }
}
