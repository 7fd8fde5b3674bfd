// The presets of classes, from a table to a bundle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/mapped_file.h"
#include "core/safetensors.h"
#include "core/sha256.h"
#include "encoded_picture.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "second_device.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"
#include "training/evaluation/bundle_evaluation.h"
#include "training/run.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

constexpr std::array<const char*, 3> kAnimals{"cat", "dog", "house"};

// A picture that tells its class, in a size of its own.
void write_picture(const fs::path& path, std::size_t animal, std::size_t i) {
  const auto bytes = testing::encoded_picture(static_cast<std::uint32_t>(animal),
                                              40 + static_cast<std::uint32_t>(i % 5),
                                              30 + static_cast<std::uint32_t>(i % 3));
  core::write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// Every fourth item has no image, every fourth no text; `labels_of` says what stands in the table.
fs::path write_items(const fs::path& directory, const std::string& name, std::size_t count,
                     const std::function<nlohmann::json(std::size_t i)>& labels_of) {
  fs::create_directories(directory / "images");
  std::ofstream table(directory / (name + ".jsonl"));
  for (std::size_t i = 0; i < count; ++i) {
    nlohmann::json item = labels_of(i);
    const std::size_t animal = i % 3;
    if (i % 4 != 0) {
      item["image"] = "images/" + name + std::to_string(i) + ".png";
      write_picture(directory / item["image"].get<std::string>(), animal, i);
    }
    if (i % 4 != 1)
      item["text"] = std::string("the ") + kAnimals[animal] + " " +
                     std::string(1, static_cast<char>('a' + i % 26));
    table << item.dump() << "\n";
  }
  return directory / (name + ".jsonl");
}

nlohmann::json one_label(std::size_t i) { return {{"label", kAnimals[i % 3]}}; }
nlohmann::json several_labels(std::size_t i) {
  nlohmann::json labels = nlohmann::json::array({kAnimals[i % 3]});
  if (i % 3 != 2) labels.push_back("animal");
  return {{"labels", labels}};
}

struct ClassesRun : ::testing::Test {
  TemporaryDirectory directory;
  fs::path bundle = testing::write_tiny_bundle(directory.path());

  TrainConfig config(const std::string& preset, const std::string& out,
                     std::map<std::string, nlohmann::json> more = {},
                     nlohmann::json (*labels_of)(std::size_t) = one_label) const {
    std::map<std::string, nlohmann::json> values = {
        {"preset", preset},
        {"data", write_items(directory.path(), "train", 48, labels_of).string()},
        {"validation", write_items(directory.path(), "dev", 24, labels_of).string()},
        {"from_bundle", bundle.string()},
        {"cache", (directory / "cache").string()},
        {"out", (directory / out).string()},
        {"pooled_epochs", 30},
        {"pooled_batch_size", 12},
        {"pooled_learning_rate", 0.01},
        {"pooled_average_decay", 0.5},
        {"average_decay", 0.5},
        {"epochs", 3},
        {"batch_size", 8},
        {"checkpoint_every", 3},
        {"threads", 1},
        {"bf16", "off"}};
    for (auto& [key, value] : more) values[key] = value;
    return read_train_config("", values);
  }
};

struct DieAt : Observer {
  std::string phase;
  std::int64_t step;
  DieAt(std::string in, std::int64_t at) : phase(std::move(in)), step(at) {}
  void on_step(const LoopSettings& settings, const StepReport& report) override {
    if (settings.phase == phase && report.step == step) ::raise(SIGKILL);
  }
};

std::string digest(const fs::path& path) {
  return core::sha256_hex(core::MappedFile::open(path).bytes());
}

void expect_same_after_a_kill(const TrainConfig& config, const std::string& phase,
                              std::int64_t step, const fs::path& whole) {
  EXPECT_EXIT(
      {
        DieAt die(phase, step);
        RunOptions options;
        options.observers = {&die};
        run_training(config, options);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  RunOptions resume;
  resume.resume = true;
  run_training(config, resume);
  for (const char* file : {"fusion/model.safetensors", "vision/model.safetensors"})
    EXPECT_EQ(digest(fs::path(config.out) / file), digest(whole / file)) << phase << ": " << file;
}

// What the bundle does when it serves, on the validation set.
nlohmann::ordered_json served_figures(const fs::path& bundle, const fs::path& data) {
  const auto model = models::FusionModel::load(models::Bundle::open(bundle), nn::Precision::kFp32);
  EvaluationOptions options;
  options.bootstrap.resamples = 0;
  const SetEncoder encoder(*model, 1);
  const BundleEvaluation evaluation(encoder, RecordSet::open(data), options);
  return evaluation.classes(model->fusion_config().label_sets.size() - 1).front().to_json();
}

TEST_F(ClassesRun, ClassifyServesEitherSideOrBothAsItWasTrained) {
  const TrainConfig settings = config("classify", "made");
  const RunReport report = run_training(settings, {});
  EXPECT_GT(report.metrics.at("accuracy"), 90);
  EXPECT_TRUE(report.metrics.contains("accuracy_image"));
  const auto figures = served_figures(directory / "made", directory / "dev.jsonl");
  EXPECT_NEAR(figures["rows"]["fused"]["top-1"].get<double>(), report.metrics.at("accuracy"), 1e-6);
  EXPECT_NEAR(figures["rows"]["text alone"]["top-1"].get<double>(),
              report.metrics.at("accuracy_text"), 1e-6);
  EXPECT_NEAR(figures["rows"]["image alone"]["top-1"].get<double>(),
              report.metrics.at("accuracy_image"), 1e-6);
  EXPECT_EQ(figures["rows"]["image alone"]["records"], 18);

  const models::Bundle made = models::Bundle::open(directory / "made");
  made.verify_checksums();
  EXPECT_THAT(made.card(), HasSubstr("| trained on `train.jsonl` | 48 | 36 | 36 | 24 |"));
  EXPECT_THAT(made.card(), HasSubstr("text alone"));
  EXPECT_THAT(made.card(), HasSubstr("their licences bind you"));
  EXPECT_THAT(made.card(), HasSubstr("core-hours"));
  EXPECT_EQ(made.fusion().label_sets.back().labels,
            (std::vector<std::string>{"cat", "dog", "house"}));
  EXPECT_EQ(read_train_config((directory / "made/training/config.json").string(), {}), settings);
}

TEST_F(ClassesRun, EmbeddingsStayThoseOfTheBundleWhereOnlyTheHeadIsTrained) {
  run_training(config("classify", "made"), {});
  const auto before = core::Safetensors::open(bundle / "fusion/model.safetensors");
  const auto after = core::Safetensors::open(directory / "made/fusion/model.safetensors");
  for (const auto& [name, view] : before.tensors())
    EXPECT_TRUE(std::ranges::equal(view.data, after.at(name).data)) << name;
  EXPECT_EQ(digest(bundle / "vision/model.safetensors"),
            digest(directory / "made/vision/model.safetensors"));
}

TEST_F(ClassesRun, ClassifyKilledInEitherStageAndResumedGivesTheSameBundle) {
  const std::map<std::string, nlohmann::json> more = {{"through_fusion", true},
                                                      {"metric", "loss"},
                                                      {"pooled_epochs", 4},
                                                      {"backbone_learning_rate", 3e-3},
                                                      {"learning_rate", 3e-3}};
  run_training(config("classify", "whole", more), {});
  EXPECT_THAT(models::Bundle::open(directory / "whole").card(), HasSubstr("and the fusion layer"));
  for (const auto& [phase, step] : {std::pair{"class head", 5}, {"fusion", 8}})
    expect_same_after_a_kill(config("classify", std::string("killed in ") + phase, more), phase,
                             step, directory / "whole");
}

TEST_F(ClassesRun, SeveralLabelsARecord) {
  const RunReport report = run_training(
      config("classify", "made", {{"class_weights", "balanced"}, {"head_hidden_size", 16}},
             several_labels),
      {});
  EXPECT_GT(report.metrics.at("mean_average_precision"), 90);
  const models::Bundle made = models::Bundle::open(directory / "made");
  EXPECT_TRUE(made.fusion().label_sets.back().multi_label);
  EXPECT_EQ(made.fusion().label_sets.back().hidden_size, 16);
  const auto figures = served_figures(directory / "made", directory / "dev.jsonl");
  EXPECT_NEAR(figures["rows"]["fused"]["mAP"].get<double>(),
              report.metrics.at("mean_average_precision"), 1e-6);
}

TEST_F(ClassesRun, FineTuningWritesTheThawedTowerAndSurvivesAKill) {
  const std::map<std::string, nlohmann::json> more = {
      {"metric", "loss"},      {"pooled_epochs", 2},   {"backbone_learning_rate", 3e-3},
      {"frozen_stages", 1},    {"mixup", 0.2},         {"rand_augment_ops", 1},
      {"random_erasing", 0.2}, {"learning_rate", 1e-2}};
  run_training(config("finetune-image", "whole", more), {});
  const auto before = core::Safetensors::open(bundle / "vision/model.safetensors");
  const auto after = core::Safetensors::open(directory / "whole/vision/model.safetensors");
  const auto same = [&](const std::string& name) {
    return std::ranges::equal(before.at(name).data, after.at(name).data);
  };
  EXPECT_TRUE(same("stages.0.0.depthwise.conv.weight")) << "it was to stay frozen";
  EXPECT_FALSE(same("stages.1.0.depthwise.conv.weight"));
  EXPECT_FALSE(same("head.conv.weight"));
  EXPECT_TRUE(same("head.norm.running_mean")) << "statistics were to stay as they are";
  for (const auto& [phase, step] : {std::pair{"class head", 5}, {"fine-tuning", 8}})
    expect_same_after_a_kill(config("finetune-image", std::string("killed in ") + phase, more),
                             phase, step, directory / "whole");
}

TEST_F(ClassesRun, LiveBatchNormsLearnStatistics) {
  run_training(config("finetune-image", "made",
                      {{"metric", "loss"},
                       {"pooled_epochs", 1},
                       {"batch_norm", "live"},
                       {"learning_rate", 1e-2}}),
               {});
  const auto before = core::Safetensors::open(bundle / "vision/model.safetensors");
  const auto after = core::Safetensors::open(directory / "made/vision/model.safetensors");
  EXPECT_FALSE(std::ranges::equal(before.at("head.norm.running_mean").data,
                                  after.at("head.norm.running_mean").data));
}

TEST_F(ClassesRun, ClassifyTrainsOnAnotherDeviceAsOnTheCpu) {
  testing::expect_same_on_second_device(
      directory.path(),
      [this](const std::string& out) {
        return config(
            "classify", out,
            {{"through_fusion", true}, {"class_weights", "balanced"}, {"token_dropout", 0.2}});
      },
      {"class-head", "fusion"});
}

TEST_F(ClassesRun, FineTuningTrainsOnAnotherDeviceAsOnTheCpu) {
  testing::expect_same_on_second_device(
      directory.path(),
      [this](const std::string& out) {
        return config("finetune-image", out,
                      {{"mixup", 0.2}, {"drop_connect", 0.1}, {"batch_norm", "live"}});
      },
      {"class-head", "fine-tuning"}, /*ranks=*/false,
      "project.norm.bias");  // which a live batch norm behind it takes out again
}

TEST_F(ClassesRun, AFolderOfPhotographsAndSeveralSeeds) {
  for (const std::size_t animal : {0u, 1u, 2u}) {
    fs::create_directories(directory / "photos" / kAnimals[animal]);
    for (std::size_t i = 0; i < 10; ++i)
      write_picture(directory / "photos" / kAnimals[animal] / (std::to_string(i) + ".png"), animal,
                    i);
  }
  const RunReport report = run_training(config("finetune-image", "made",
                                               {{"data", (directory / "photos").string()},
                                                {"validation", ""},
                                                {"seeds", 2},
                                                {"epochs", 1}}),
                                        {});
  EXPECT_THAT(models::Bundle::open(directory / "made").card(),
              HasSubstr("2 seeds were run: accuracy"));
  const fs::path run = directory / "made.training";
  EXPECT_THAT(core::read_text_file(run / "report.html"), HasSubstr("of 2 seeds: mean"));
  EXPECT_TRUE(fs::exists(run / "fine-tuning-2/metrics.jsonl"));
  EXPECT_FALSE(fs::is_empty(run / "events"));
  EXPECT_EQ(report.lines.front().at("values").size(), 2);
}

TEST_F(ClassesRun, WhatCannotBeTrainedIsSaid) {
  const auto refusal = [&](const TrainConfig& settings) {
    try {
      run_training(settings, {});
    } catch (const Error& error) {
      return error.message();
    }
    ADD_FAILURE() << "it was trained";
    return std::string();
  };
  std::ofstream(directory / "texts.csv") << "text,label\na cat,cat\na dog,dog\nthe dog,dog\n"
                                            "the cat,cat\nred cat,cat\nred dog,dog\n";
  const std::map<std::string, nlohmann::json> texts = {
      {"data", (directory / "texts.csv").string()}, {"validation", ""}, {"validation_share", 0.3}};
  EXPECT_THAT(refusal(config("finetune-image", "a", texts)), HasSubstr("classify trains on texts"));
  run_training(config("classify", "b", texts), {});
  std::ofstream(directory / "one.csv") << "text,label\na cat,cat\na dog,cat\n";
  EXPECT_THAT(refusal(config("classify", "c", {{"data", (directory / "one.csv").string()}})),
              HasSubstr("two are needed"));
  EXPECT_THAT(refusal(config("classify", "d", {{"metric", "acuracy"}})),
              HasSubstr("there is no \"acuracy\"; there are accuracy"));
  EXPECT_THAT(refusal(config("classify", "e", {{"vision", "x"}})), HasSubstr("leave out vision"));
}

}  // namespace
}  // namespace bifocal::training
