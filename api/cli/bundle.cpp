#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "bifocal/error.h"
#include "command.h"
#include "core/files.h"
#include "core/json_config.h"
#include "fusion/fusion_config.h"
#include "model_card.h"
#include "models/bundle.h"
#include "text/bert_config.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFooter = R"(Examples:
  bifocal bundle --vision lite0 --text minilm --fusion trained --out mine
  bifocal bundle --vision b0 --text bert --fusion-preset fusion-base --seed 1 --out fresh
  bifocal bundle --vision b0 --text bert --fusion-preset fusion-small --labels colour=colours.txt
                 --out fresh

Encoder directories are as the Hugging Face Hub has them: config.json, model.safetensors and, for
text, tokenizer.json, vocab.txt or a SentencePiece model. A fusion directory has config.json and
model.safetensors. A preset takes its input sizes from the encoders. The bundle is loaded as a check
before it appears under --out.)";

struct BundleCommand {
  models::BundleParts parts;
  fs::path fusion;
  std::string preset;
  fs::path fusion_config;
  std::vector<std::string> labels;
  fs::path out;
  bool force = false;
};

// "colour=colours.txt": the set's name, and a file with a label a line.
fusion::LabelSet read_label_set(const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw Error(ErrorCode::kInvalidArgument,
                "--labels " + assignment + ": write NAME=FILE, such as colour=colours.txt");
  fusion::LabelSet set{assignment.substr(0, equals), {}};
  const std::string path = assignment.substr(equals + 1);
  std::istringstream lines(core::read_text_file(path, 64u << 20));
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) set.labels.push_back(line);
  }
  if (set.labels.size() < 2)
    throw Error(ErrorCode::kInvalidArgument, path + ": a label set needs two labels, one a line");
  return set;
}

void add_label_sets(fusion::FusionConfig& config, const std::vector<std::string>& assignments) {
  for (const std::string& assignment : assignments) {
    fusion::LabelSet set = read_label_set(assignment);
    const auto same_name = std::find_if(config.label_sets.begin(), config.label_sets.end(),
                                        [&](const auto& other) { return other.name == set.name; });
    if (same_name == config.label_sets.end())
      config.label_sets.push_back(std::move(set));
    else
      *same_name = std::move(set);
  }
}

core::JsonConfig encoder_config(const fs::path& directory) {
  return core::JsonConfig::read(directory / "config.json");
}

// A new fusion layer takes the sizes of its inputs from the encoders, unless its config says them.
fusion::FusionConfig fresh_fusion(const BundleCommand& command) {
  std::optional<core::JsonConfig> given;
  if (!command.fusion_config.empty()) given = core::JsonConfig::read(command.fusion_config);
  fusion::FusionConfig config =
      given ? fusion::FusionConfig::from_config(*given) : fusion::fusion_preset(command.preset);
  if (!given || !given->has("vision_channels"))
    config.vision_channels =
        vision::read_efficientnet_config(encoder_config(command.parts.vision)).head_channels;
  if (!given || !given->has("text_hidden_size"))
    config.text_hidden_size =
        text::BertConfig::from_config(encoder_config(command.parts.text)).hidden_size;
  return config;
}

void choose_fusion(const BundleCommand& command, models::BundleParts& parts) {
  const int sources = (command.fusion.empty() ? 0 : 1) + (command.preset.empty() ? 0 : 1) +
                      (command.fusion_config.empty() ? 0 : 1);
  if (sources != 1)
    throw Error(ErrorCode::kInvalidArgument,
                "give one of --fusion DIR, --fusion-preset NAME and --fusion-config FILE");
  if (command.fusion.empty())
    parts.fusion = fresh_fusion(command);
  else
    models::use_fusion_directory(parts, command.fusion);
  add_label_sets(parts.fusion, command.labels);
}

// "mine" of "path/to/mine/".
std::string last_name(const fs::path& path) {
  const fs::path whole = fs::absolute(path).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

int run(const BundleCommand& command) {
  models::BundleParts parts = command.parts;
  if (fs::exists(command.out) && !command.force)
    throw Error(
        ErrorCode::kInvalidArgument,
        command.out.string() + ": exists; choose another --out, or replace it with --force");
  choose_fusion(command, parts);
  if (parts.name.empty()) parts.name = last_name(command.out);
  if (parts.licence.empty())
    parts.licence =
        parts.card ? licence_of_card(core::read_text_file(*parts.card, 1u << 20)) : "unknown";
  models::write_bundle(parts, command.out, command.force);
  std::cerr << "bifocal: " << command.out.string() << " is ready; `bifocal inspect --model "
            << command.out.string() << "` says what is in it\n";
  return 0;
}

void add_options(CLI::App& app, BundleCommand& command) {
  models::BundleParts& parts = command.parts;
  app.add_option("--vision", parts.vision, "The vision encoder")->type_name("DIR")->required();
  app.add_option("--vision-delta", parts.vision_delta,
                 "Safetensors whose weights replace some of the vision encoder's")
      ->type_name("FILE");
  app.add_option("--preprocessor", parts.preprocessor,
                 "A preprocessor_config.json in place of the encoder's own")
      ->type_name("FILE");
  app.add_option("--text", parts.text, "The text encoder")->type_name("DIR")->required();
  app.add_option("--text-delta", parts.text_delta,
                 "Safetensors whose weights replace some of the text encoder's")
      ->type_name("FILE");
  app.add_option("--fusion", command.fusion, "A trained fusion layer")
      ->type_name("DIR")
      ->group("Fusion");
  app.add_option("--fusion-preset", command.preset, "A new one: fusion-small or fusion-base")
      ->type_name("fusion-small|fusion-base")
      ->group("Fusion");
  app.add_option("--fusion-config", command.fusion_config, "A new one of these sizes")
      ->type_name("FILE")
      ->group("Fusion");
  app.add_option("--seed", parts.seed, "What a new one's weights are drawn from")
      ->type_name("N")
      ->default_str("0")
      ->group("Fusion");
  app.add_option("--labels", command.labels, "A label set, a label a line of FILE; may be repeated")
      ->type_name("NAME=FILE")
      ->expected(1)
      ->take_all()
      ->group("Fusion");
  app.add_option("--card", parts.card, "The model card, Markdown")->type_name("FILE");
  app.add_option("--name", parts.name, "Its name (default: that of --out)")->type_name("NAME");
  app.add_option("--licence", parts.licence, "Its licence, SPDX (default: the card's)")
      ->type_name("ID");
  app.add_option("--out", command.out, "The directory to make")->type_name("DIR")->required();
  app.add_flag("--force", command.force, "Replace --out where it exists");
}

}  // namespace

Command add_bundle(CLI::App& root) {
  CLI::App* app = root.add_subcommand("bundle", "Join encoders and a fusion layer into a model");
  app->footer(kFooter);
  auto command = std::make_shared<BundleCommand>();
  add_options(*app, *command);
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
