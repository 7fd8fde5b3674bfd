#include <ATen/ops/allclose.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/sha256.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "ranks.h"
#include "second_device.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"
#include "training/contrast_training.h"
#include "training/evaluation/bundle_evaluation.h"
#include "training/evaluation/contrast_controls.h"
#include "training/record_writer.h"
#include "training/run.h"
#include "training/scenes/scene.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

struct ContrastsRun : ::testing::Test {
  TemporaryDirectory directory;
  models::BundleParts parts = testing::write_tiny_encoders(directory.path());

  void SetUp() override {
    write_records(scene_records(SceneSplit::kTrain, 1, 24), directory / "scenes/train.jsonl", true);
    write_records(scene_records(SceneSplit::kValidation, 1, 8),
                  directory / "scenes/validation.jsonl", true);
  }

  TrainConfig config(const std::string& out,
                     std::map<std::string, nlohmann::json> more = {}) const {
    std::map<std::string, nlohmann::json> values = {{"preset", "contrasts"},
                                                    {"data", (directory / "scenes").string()},
                                                    {"vision", parts.vision.string()},
                                                    {"text", parts.text.string()},
                                                    {"cache", (directory / "cache").string()},
                                                    {"out", (directory / out).string()},
                                                    {"epochs", 4},
                                                    {"batch_size", 8},
                                                    {"pooled_epochs", 2},
                                                    {"pooled_batch_size", 8},
                                                    {"align_epochs", 2},
                                                    {"curriculum", "presence, side"},
                                                    {"hidden_size", 16},
                                                    {"embedding_size", 24},
                                                    {"attention_heads", 4},
                                                    {"intermediate_size", 32},
                                                    {"detail_stage", 1},
                                                    {"checkpoint_every", 2},
                                                    {"threads", 1},
                                                    {"bf16", "off"}};
    for (const auto& [key, value] : more) values[key] = value;
    return read_train_config("", values);
  }
};

std::string digest(const fs::path& path) {
  return core::sha256_hex(core::MappedFile::open(path).bytes());
}

TEST_F(ContrastsRun, WritesABundleWhoseEvaluationAgrees) {
  const RunReport report = run_training(config("bundle"), {});
  ASSERT_FALSE(report.interrupted);
  const models::Bundle bundle = models::Bundle::open(directory / "bundle");
  bundle.verify_checksums();
  EXPECT_TRUE(bundle.fusion().match_cosine);
  EXPECT_TRUE(bundle.fusion().match_late_interaction);
  EXPECT_EQ(bundle.fusion().detail_stage, 1);
  EXPECT_THAT(bundle.card(), ::testing::HasSubstr("| trained on `scenes` | 24 | 144 |"));
  const auto model = models::FusionModel::load(bundle, nn::Precision::kFp32);
  const SetEncoder encoder(*model, 1);
  EvaluationOptions options;
  options.bootstrap.resamples = 0;
  const BundleEvaluation train(encoder, scene_records(SceneSplit::kTrain, 1, 24), options);
  const BundleEvaluation validation(encoder, scene_records(SceneSplit::kValidation, 1, 8), options);
  ControlOptions few;
  few.epochs = 2;
  few.hidden_size = 16;
  const Section section = validation.contrasts(contrast_controls(train, validation, few));
  ASSERT_EQ(section.rows.back().name, "all");
  // A bundle is bfloat16: a contrast or two may turn.
  EXPECT_NEAR(section.rows.back().cells[1]->value, report.metrics.at("all"), 5);
  ASSERT_EQ(section.columns.size(), section.rows.back().cells.size());
  for (std::size_t c = 0; c < section.columns.size(); ++c)
    if (section.columns[c] == "image alone") {
      EXPECT_EQ(section.rows.back().cells[c]->value, 50);
      EXPECT_NEAR(section.rows.back().cells[c + 1]->value, section.rows.back().cells[1]->value - 50,
                  1e-9);
    }
  EXPECT_THAT(section.columns, ::testing::IsSupersetOf({"text alone", "two towers", "pooled MLP"}));
}

TEST_F(ContrastsRun, KilledInAnyPhaseAndResumedGivesTheSameBundle) {
  run_training(config("whole"), {});
  struct DieAt : Observer {
    std::string phase;
    std::int64_t step;
    DieAt(std::string in, std::int64_t at) : phase(std::move(in)), step(at) {}
    void on_step(const LoopSettings& settings, const StepReport& report) override {
      if (settings.phase == phase && report.step == step) ::raise(SIGKILL);
    }
  };
  for (const char* phase : {"pooled heads", "token projections", "fusion"}) {
    const TrainConfig broken = config("broken");
    fs::remove_all(directory / "broken");
    fs::remove_all(directory / "broken.training");
    EXPECT_EXIT(
        {
          DieAt die(phase, 4);
          RunOptions options;
          options.observers = {&die};
          run_training(broken, options);
        },
        ::testing::KilledBySignal(SIGKILL), "");
    RunOptions options;
    options.resume = true;
    run_training(broken, options);
    EXPECT_EQ(digest(directory / "broken/fusion/model.safetensors"),
              digest(directory / "whole/fusion/model.safetensors"))
        << phase;
  }
}

// Every other picture has none of the kinds that the curriculum begins with, so that ranks have
// different numbers of pairs.
TEST_F(ContrastsRun, OfSeveralSeedsTheBestIsKept) {
  const RunReport report = run_training(config("both", {{"seeds", 2}}), {});
  const auto values = report.lines.front().at("values").get<std::vector<double>>();
  ASSERT_EQ(values.size(), 2U);
  EXPECT_EQ(report.metrics.at("all"), std::max(values[0], values[1]));
  EXPECT_THAT(models::Bundle::open(directory / "both").card(),
              ::testing::HasSubstr("2 seeds were run: all"));
  EXPECT_TRUE(fs::exists(directory / "both/training/token-projections-1.jsonl"));
  EXPECT_TRUE(fs::exists(directory / "both/training/fusion-2.jsonl"));
  // Each is what it is alone: the second does not go on where the first ended.
  for (const int seed : {1, 2}) {
    const std::string out = "alone-" + std::to_string(seed);
    EXPECT_EQ(run_training(config(out, {{"seed", seed}}), {}).metrics.at("all"),
              values[static_cast<std::size_t>(seed - 1)]);
  }
  const std::string kept = values[1] > values[0] ? "alone-2" : "alone-1";
  EXPECT_EQ(digest(directory / "both/fusion/model.safetensors"),
            digest(directory / kept / "fusion/model.safetensors"));
}

TEST_F(ContrastsRun, TwoProcessesTrainAsOneDoes) {
  const fs::path table = directory / "scenes/train.jsonl";
  std::istringstream lines(core::read_text_file(table));
  std::string thinned;
  bool keep_all = true;
  for (std::string line; std::getline(lines, line); keep_all = !keep_all) {
    nlohmann::json record = nlohmann::json::parse(line);
    nlohmann::json& contrasts = record["contrasts"];
    for (std::size_t c = contrasts.size(); !keep_all && c-- > 0;)
      if (contrasts[c]["kind"] != "left") contrasts.erase(c);
    thinned += record.dump() + "\n";
  }
  core::write_file_atomically(table, thinned);
  const auto without_masks = [this](const std::string& out) {
    return config(
        out,
        {{"dropout", 0.0}, {"pooled_dropout", 0.0}, {"drop_connect", 0.0}, {"vision_stages", 1}});
  };
  testing::expect_two_train_as_one(directory.path(), without_masks,
                                   {"pooled-heads", "token-projections", "fusion"});
}

TEST_F(ContrastsRun, TrainsOnAnotherDeviceAsOnTheCpu) {
  testing::expect_same_on_second_device(directory.path(),
                                        [this](const std::string& out) {
                                          return config(out, {{"vision_stages", 1}});
                                        },
                                        {"pooled-heads", "token-projections", "fusion"});
}

// Else a weight would stay where it starts and nobody would know.
TEST_F(ContrastsRun, WhatAPhaseSaysThatItTrainsItSteps) {
  run_training(config("made", {{"vision_stages", 1}}), {});
  for (const char* phase : {"pooled-heads", "token-projections"})  // the last has heads to spare
    testing::expect_all_stepped(directory / "made.training" / phase);
}

TEST_F(ContrastsRun, DoubleDifferencesSeeNothingThatTheTextsAloneTell) {
  run_training(config("made", {{"double_difference", true}}), {});
  // Where the logit lies is nothing that they learn; in the bundle it is a probability's again.
  const nn::StateDict pooled =
      load_newest_checkpoint(directory / "made.training/pooled-heads")->weights;
  EXPECT_FALSE(pooled.contains("match_head.fc2.bias"));
  EXPECT_NE(pooled.at("match_scale").item<float>(), 20);
  const auto made = core::Safetensors::open(directory / "made/fusion/model.safetensors");
  EXPECT_NE(nn::read_state_dict(made).at("match_head.fc2.bias").item<float>(), 0);
}

// Every text that is true says "cat", whatever the picture: by the texts alone all are right.
TEST_F(ContrastsRun, DoubleDifferencesLearnNoBiasOfTheTexts) {
  for (const char* split : {"train", "validation"}) {
    const fs::path table = directory / "scenes" / (std::string(split) + ".jsonl");
    std::istringstream lines(core::read_text_file(table));
    std::string biased;
    for (std::string line; std::getline(lines, line);) {
      nlohmann::json record = nlohmann::json::parse(line);
      record["contrasts"] = {{{"kind", "animal"}, {"true", "the cat sleeps"}, {"false", "a dog"}}};
      biased += record.dump() + "\n";
    }
    core::write_file_atomically(table, biased);
  }
  const auto margin = [this](const std::string& out, bool double_difference) {
    run_training(config(out, {{"double_difference", double_difference},
                              {"curriculum", ""},
                              {"learning_rate", 2e-3}}),
                 {});
    const std::string log =
        core::read_text_file(directory / (out + ".training") / "fusion/metrics.jsonl");
    const std::size_t last = log.rfind("\"event\":\"step\"");
    const std::size_t begin = log.rfind('\n', last) + 1;
    return nlohmann::json::parse(log.substr(begin, log.find('\n', last) - begin));
  };
  EXPECT_LT(margin("own", false).at("parts").at("ranking").get<double>(), 0.2);
  // Any picture may be the other one: no score makes the mean less than log 2, but for the draw.
  EXPECT_GT(margin("double", true).at("parts").at("ranking").get<double>(), 0.5);
}

TEST_F(ContrastsRun, TwoProcessesTrainOnDoubleDifferencesAsOneDoes) {
  testing::expect_two_train_as_one(
      directory.path(),
      [this](const std::string& out) {
        return config(out,
                      {{"dropout", 0.0}, {"pooled_dropout", 0.0}, {"double_difference", true}});
      },
      {"pooled-heads", "token-projections", "fusion"});
}

TEST_F(ContrastsRun, BeginsWithTheFusionLayerOfABundle) {
  run_training(config("first"), {});
  const auto second = config("second", {{"from_bundle", (directory / "first").string()},
                                        {"vision", ""},
                                        {"text", ""},
                                        {"detail_stage", 0},  // the bundle's
                                        {"epochs", 1},
                                        {"learning_rate", 0.0},
                                        {"heads_learning_rate", 0.0},
                                        {"gains_learning_rate", 0.0},
                                        {"average_decay", 0.0},
                                        {"pooled_epochs", 0},
                                        {"align_epochs", 0}});
  run_training(second, {});
  EXPECT_EQ(digest(directory / "first/fusion/model.safetensors"),
            digest(directory / "second/fusion/model.safetensors"));
}

// What any loss is past: a kind that joins raises it.
TEST_F(ContrastsRun, ACurriculumIsNotTakenForDivergence) {
  EXPECT_NO_THROW(run_training(config("bundle", {{"divergence_factor", 1e-6}}), {}));
  EXPECT_THROW(run_training(config("other", {{"divergence_factor", 1e-6}, {"curriculum", ""}}), {}),
               Error);
}

TEST_F(ContrastsRun, ACurriculumOfAnUnknownKindIsRefused) {
  try {
    run_training(config("bundle", {{"curriculum", "presence, colours"}}), {});
    FAIL() << "should have thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("\"colours\"; it has above, count"));
  }
}

}  // namespace
}  // namespace bifocal::training
