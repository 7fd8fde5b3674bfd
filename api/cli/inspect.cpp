#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "bifocal/error.h"
#include "bifocal/model.h"
#include "command.h"
#include "core/mapped_file.h"
#include "core/sha256.h"
#include "json_lines.h"
#include "model_card.h"
#include "model_options.h"
#include "models/bundle.h"
#include "output.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal inspect                        the default bundle
  bifocal inspect --model mine --verify  and compare each file with its SHA-256
  bifocal inspect --json | jq .parts

Multiply-adds are those of one image, of a text of 16 tokens, and of fusing these two. With
--verify, the exit code is 78 where a file differs.)";

struct InspectCommand {
  ModelOptions model;
  bool json = false;
  bool verify = false;
};

// "ok" or "differs"; "listed" where it was not asked for.
std::vector<std::string> file_states(const models::Bundle& bundle, bool verify) {
  std::vector<std::string> states;
  for (const models::BundleFile& file : bundle.files()) {
    if (!verify) {
      states.emplace_back("listed");
      continue;
    }
    const core::MappedFile mapped = core::MappedFile::open(bundle.directory() / file.path);
    states.emplace_back(core::sha256_hex(mapped.bytes()) == file.sha256 ? "ok" : "differs");
  }
  return states;
}

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char text[512];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

// 22713216 as "22.71 M".
std::string scaled(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return formatted("%.2f G", value / 1e9);
  if (value >= 1e6) return formatted("%.2f M", value / 1e6);
  return formatted("%.1f k", value / 1e3);
}

nlohmann::json to_json(const ModelInfo& info, const models::Bundle& bundle,
                       const std::vector<std::string>& states) {
  nlohmann::json parts = nlohmann::json::array();
  for (const PartInfo& part : info.parts)
    parts.push_back({{"name", part.name},
                     {"architecture", part.architecture},
                     {"parameters", part.parameters},
                     {"multiply_adds", part.multiply_adds}});
  nlohmann::json label_sets = nlohmann::json::object();
  for (const LabelSetInfo& set : info.label_sets) label_sets[set.name] = set.labels;
  nlohmann::json files = nlohmann::json::array();
  for (std::size_t i = 0; i < states.size(); ++i)
    files.push_back({{"path", bundle.files()[i].path},
                     {"bytes", bundle.files()[i].bytes},
                     {"sha256", bundle.files()[i].sha256},
                     {"state", states[i]}});
  return {{"name", info.name},
          {"path", info.path.string()},
          {"licence", info.licence},
          {"format_version", bundle.format_version()},
          {"embedding_size", info.embedding_size},
          {"max_tokens", info.max_tokens},
          {"image_height", info.image_height},
          {"image_width", info.image_width},
          {"parts", parts},
          {"label_sets", label_sets},
          {"files", files},
          {"quality", quality_of_card(info.card)},
          {"card", info.card}};
}

std::string describe_parts(const ModelInfo& info) {
  std::string text =
      formatted("%-8s  %-26s %12s  %14s\n", "part", "architecture", "parameters", "multiply-adds");
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;
  for (const PartInfo& part : info.parts) {
    text += formatted("%-8s  %-26s %12s  %14s\n", part.name.c_str(), part.architecture.c_str(),
                      scaled(part.parameters).c_str(), scaled(part.multiply_adds).c_str());
    parameters += part.parameters;
    multiply_adds += part.multiply_adds;
  }
  return text + formatted("%-8s  %-26s %12s  %14s\n", "total", "", scaled(parameters).c_str(),
                          scaled(multiply_adds).c_str());
}

std::string describe_files(const models::Bundle& bundle, const std::vector<std::string>& states) {
  std::string text = formatted("%-34s %14s  %-8s  %s\n", "file", "bytes", "state", "SHA-256");
  for (std::size_t i = 0; i < states.size(); ++i) {
    const models::BundleFile& file = bundle.files()[i];
    text += formatted("%-34s %14llu  %-8s  %.16s...\n", file.path.c_str(),
                      static_cast<unsigned long long>(file.bytes), states[i].c_str(),
                      file.sha256.c_str());
  }
  return text;
}

std::string describe(const ModelInfo& info, const models::Bundle& bundle,
                     const std::vector<std::string>& states) {
  std::string text = info.name + "\n  bundle     " + info.path.string() + " (format " +
                     std::to_string(bundle.format_version()) + ")\n  licence    " + info.licence +
                     "\n  embedding  " + std::to_string(info.embedding_size) +
                     " numbers\n  image      " + std::to_string(info.image_width) + " x " +
                     std::to_string(info.image_height) + " pixels\n  text       up to " +
                     std::to_string(info.max_tokens) + " tokens\n";
  for (const LabelSetInfo& set : info.label_sets)
    text += "  labels     " + set.name + ": " + std::to_string(set.labels.size()) + "\n";
  if (info.label_sets.empty()) text += "  labels     none: it does not classify\n";
  text += "\n" + describe_parts(info) + "\n" + describe_files(bundle, states);
  const std::string quality = quality_of_card(info.card);
  return text + (quality.empty() ? "" : "\nQuality, as the model card has it\n\n" + quality + "\n");
}

bool intact(const std::vector<std::string>& states) {
  return std::find(states.begin(), states.end(), "differs") == states.end();
}

void require_intact(const models::Bundle& bundle, const std::vector<std::string>& states) {
  for (std::size_t i = 0; i < states.size(); ++i)
    if (states[i] == "differs")
      throw Error(ErrorCode::kInvalidBundle,
                  bundle.directory().string() + ": " + bundle.files()[i].path +
                      " is not the file that bifocal.json was written for (SHA-256 differs); make "
                      "or copy the bundle again");
}

int run(const InspectCommand& command) {
  const models::Bundle bundle = models::Bundle::open(bundle_path(command.model));
  const std::vector<std::string> states = file_states(bundle, command.verify);
  if (!command.json && !intact(states)) print(describe_files(bundle, states));
  require_intact(bundle, states);
  ModelOptions options = command.model;
  options.bundle = bundle.directory();
  options.load.verify_checksums = false;  // done above where asked for
  const Model model = load_model(options);
  if (command.json) {
    std::string line;
    append_json(line, to_json(model.info(), bundle, states));
    print(line + "\n");
  } else {
    print(describe(model.info(), bundle, states));
  }
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& root) {
  CLI::App* app = root.add_subcommand("inspect", "Say what is in a model");
  app->footer(kFooter);
  auto command = std::make_shared<InspectCommand>();
  add_model_option(*app, command->model);
  app->add_flag("--json", command->json, "Write one JSON object, the whole model card included");
  app->add_flag("--verify", command->verify, "Compare every file with its SHA-256");
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
