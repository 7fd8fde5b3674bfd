#include "training/train_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryDirectory;

std::string refusal(const std::string& file, const std::map<std::string, nlohmann::json>& flags) {
  try {
    read_train_config(file, flags);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.message();
  }
  ADD_FAILURE() << "it was accepted";
  return {};
}

TEST(TrainConfig, FlagsBeforeFileBeforePresetBeforeDefaults) {
  const TemporaryDirectory directory;
  const auto file = directory / "config.json";
  core::write_file_atomically(
      file, R"({"preset": "retrieval", "epochs": 3, "batch_size": 16, "seed": 9})");
  const TrainConfig config = read_train_config(file.string(), {{"batch_size", 32}});
  EXPECT_EQ(config.batch_size, 32);
  EXPECT_EQ(config.epochs, 3);
  EXPECT_EQ(config.seed, 9);
  EXPECT_DOUBLE_EQ(config.beta2, 0.98);                                         // the preset's
  EXPECT_DOUBLE_EQ(config.divergence_factor, TrainConfig().divergence_factor);  // the default
}

TEST(TrainConfig, WhatIsSavedGivesTheSameConfigAgain) {
  const TemporaryDirectory directory;
  for (const TrainPreset& preset : train_presets()) {
    const TrainConfig config =
        read_train_config("", {{"preset", preset.name}, {"learning_rate", 0.125}, {"data", "x"}});
    core::write_file_atomically(directory / "saved.json", to_json(config).dump());
    EXPECT_EQ(read_train_config((directory / "saved.json").string(), {}), config);
  }
}

TEST(TrainConfig, AnUnknownKeyIsRefusedWithTheNearest) {
  const TemporaryDirectory directory;
  core::write_file_atomically(directory / "c.json", R"({"preset": "retrieval", "epoch": 3})");
  EXPECT_THAT(refusal((directory / "c.json").string(), {}), HasSubstr("did you mean \"epochs\"?"));
  EXPECT_THAT(refusal("", {{"preset", "retreival"}}), HasSubstr("retrieval"));
  EXPECT_THAT(refusal("", {}), HasSubstr("preset: is missing"));
}

TEST(TrainConfig, EveryKeySaysWhatItTakes) {
  std::set<std::string> names;
  TrainConfig config;
  for (const TrainConfigKey& key : train_config_keys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name << " stands twice";
    EXPECT_FALSE(key.meaning.empty()) << key.name;
    try {
      key.set(config, nlohmann::json::array({1}));
      EXPECT_EQ(key.schema.at("type"), "array") << key.name;
    } catch (const Error& error) {
      EXPECT_THAT(error.message(), HasSubstr("it takes")) << key.name;
    }
    if (key.name != "preset") key.set(config, key.get(TrainConfig()));
  }
  EXPECT_EQ(config, TrainConfig());
  EXPECT_THAT(refusal("", {{"preset", "retrieval"}, {"epochs", 0}}),
              HasSubstr("--epochs: epochs is 0; it takes 1 to 100000"));
}

TEST(TrainConfig, SchemaAndTableHaveEveryKey) {
  const nlohmann::json schema = train_config_schema();
  EXPECT_EQ(schema.at("additionalProperties"), false);
  const std::string table = train_config_markdown();
  for (const TrainConfigKey& key : train_config_keys()) {
    EXPECT_TRUE(schema.at("properties").contains(key.name));
    EXPECT_THAT(table, HasSubstr("| `" + key.name + "` |"));
  }
}

TEST(TrainConfig, TheDocumentHasTheTableAndTheSchemaIsPublished) {
  const std::string source = BIFOCAL_SOURCE_DIR;
  EXPECT_THAT(core::read_text_file(source + "/docs/training.md"),
              HasSubstr(train_config_markdown()))
      << "put the output of `bifocal train --settings-table` into docs/training.md";
  EXPECT_EQ(nlohmann::json::parse(core::read_text_file(source + "/docs/train-config.schema.json")),
            train_config_schema())
      << "write the output of `bifocal train --schema` to docs/train-config.schema.json";
}

}  // namespace
}  // namespace bifocal::training
