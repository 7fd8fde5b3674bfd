#include "training/retrieval.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/mapped_file.h"
#include "core/sha256.h"
#include "encoded_picture.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "nn/weights.h"
#include "ranks.h"
#include "second_device.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"
#include "training/run.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

// A directory of pictures and a table with two captions and a contrast of each.
fs::path write_pairs(const fs::path& directory, const std::string& name, int count) {
  fs::create_directories(directory / "images");
  std::ofstream table(directory / (name + ".jsonl"));
  const char* animals[] = {"dog", "cat", "house"};
  for (int i = 0; i < count; ++i) {
    const auto bytes = testing::encoded_picture(static_cast<std::uint32_t>(i));
    const std::string image = "images/" + std::to_string(i) + ".png";
    core::write_file_atomically(directory / image,
                                {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const std::string animal = animals[i % 3];
    const std::string letter(1, static_cast<char>('a' + i % 26));
    table << nlohmann::json{{"image", image},
                            {"captions",
                             {"a " + animal + " " + letter, "the " + animal + " runs " + letter}},
                            {"contrasts",
                             {{{"kind", "animal"},
                               {"true", "the " + animal + " runs"},
                               {"false", "the " + std::string(animals[(i + 1) % 3]) + " runs"}}}}}
                 .dump()
          << "\n";
  }
  return directory / (name + ".jsonl");
}

struct RetrievalRun : ::testing::Test {
  TemporaryDirectory directory;
  models::BundleParts parts = testing::write_tiny_encoders(directory.path());
  fs::path train_table = write_pairs(directory.path(), "train", 24);
  fs::path dev_table = write_pairs(directory.path(), "dev", 8);

  TrainConfig config(const std::string& out) const {
    return read_train_config("", {{"preset", "retrieval"},
                                  {"data", train_table.string()},
                                  {"validation", dev_table.string()},
                                  {"images", directory.path().string()},
                                  {"vision", parts.vision.string()},
                                  {"text", parts.text.string()},
                                  {"cache", (directory / "cache").string()},
                                  {"out", (directory / out).string()},
                                  {"epochs", 4},
                                  {"batch_size", 8},
                                  {"pooled_epochs", 4},
                                  {"pooled_batch_size", 12},
                                  {"match_pairs", 4},
                                  {"visual_tokens", 5},
                                  {"text_layers", 1},
                                  {"hidden_size", 16},
                                  {"embedding_size", 24},
                                  {"attention_heads", 4},
                                  {"intermediate_size", 32},
                                  {"checkpoint_every", 3},
                                  {"threads", 1},
                                  {"bf16", "off"}});
  }
};

std::string digest(const fs::path& path) {
  return core::sha256_hex(core::MappedFile::open(path).bytes());
}

TEST_F(RetrievalRun, WritesABundleWithCardConfigAndLog) {
  const RunReport report = run_training(config("bundle"), {});
  EXPECT_FALSE(report.interrupted);
  EXPECT_GT(report.metrics.at("rsum"), 0);
  EXPECT_TRUE(report.metrics.contains("match_accuracy"));
  const models::Bundle bundle = models::Bundle::open(directory / "bundle");
  bundle.verify_checksums();
  EXPECT_TRUE(bundle.fusion().match_cosine);
  EXPECT_THAT(bundle.card(), ::testing::HasSubstr("| trained on `train.jsonl` | 24 | 48 |"));
  EXPECT_EQ(read_train_config((directory / "bundle/training/config.json").string(), {}),
            config("bundle"));
  EXPECT_TRUE(fs::exists(directory / "bundle/training/fusion.jsonl"));
  const auto model = models::FusionModel::load(bundle, nn::Precision::kFp32);
  EXPECT_EQ(model->fusion_config().embedding_size, 24);
  // The text layer that was trained is another, those below are as they were.
  const auto before = core::Safetensors::open(parts.text / "model.safetensors");
  const auto after = core::Safetensors::open(directory / "bundle/text/model.safetensors");
  const auto same = [&](const std::string& name) {
    return std::ranges::equal(before.at(name).data, after.at(name).data);
  };
  EXPECT_TRUE(same("layers.0.mlp.fc1.weight"));
  EXPECT_FALSE(same("layers.1.mlp.fc1.weight"));
}

TEST_F(RetrievalRun, AnImageWithASingleCaptionAsksForNoOther) {
  std::istringstream lines(core::read_text_file(dev_table));
  std::string table;
  bool is_first = true;
  for (std::string line; std::getline(lines, line); is_first = false) {
    nlohmann::json record = nlohmann::json::parse(line);
    if (is_first) record["captions"].erase(1);
    table += record.dump() + "\n";
  }
  core::write_file_atomically(dev_table, table);
  run_training(config("bundle"), {});
  const nn::StateDict weights =
      nn::read_state_dict(core::Safetensors::open(directory / "bundle/fusion/model.safetensors"));
  for (const char* name : {"pooled_mix", "residual_gain"})
    EXPECT_TRUE(weights.at(name).isfinite().all().item<bool>()) << name << weights.at(name);
}

TEST_F(RetrievalRun, WithALateLossTheMatchLogitHasALateInteraction) {
  run_training(config("without"), {});
  EXPECT_FALSE(models::Bundle::open(directory / "without").fusion().match_late_interaction);
  TrainConfig late = config("with");
  late.late_weight = 0.5;
  run_training(late, {});
  const models::Bundle bundle = models::Bundle::open(directory / "with");
  EXPECT_TRUE(bundle.fusion().match_late_interaction);
  const auto weights = core::Safetensors::open(bundle.fusion_weights());
  EXPECT_NE(nn::read_state_dict(weights).at("late_gain").item<double>(), 0);
}

TEST_F(RetrievalRun, ComesNearerToATeacherThatCounts) {
  models::BundleParts teacher = parts;
  teacher.seed = 5;
  models::write_bundle(teacher, directory / "teacher", /*replace=*/false);
  // The mean divergence in the last steps of both stages.
  const auto divergence = [this](double weight) {
    const std::string out = "weight " + std::to_string(weight);
    TrainConfig taught = config(out);
    taught.teacher = (directory / "teacher").string();
    taught.teacher_weight = weight;
    taught.late_weight = 0.5;
    taught.pooled_epochs = 20;
    taught.epochs = taught.evaluate_every = 8;
    taught.log_every = 1;
    run_training(taught, {});
    double sum = 0;
    for (const char* stage : {"pooled-heads", "fusion"}) {
      std::istringstream lines(
          core::read_text_file(directory / (out + ".training") / stage / "metrics.jsonl"));
      std::vector<double> divergences;
      for (std::string line; std::getline(lines, line);)
        if (const auto event = nlohmann::json::parse(line); event.at("event") == "step")
          divergences.push_back(event.at("parts").at("teacher").get<double>());
      sum = std::accumulate(divergences.end() - 10, divergences.end(), sum);
    }
    return sum / 20;
  };
  EXPECT_LT(divergence(5), 0.6 * divergence(0));
}

TEST_F(RetrievalRun, RefusesToLearnFromContrastsThatAreNotThere) {
  TrainConfig contrasted = config("bundle");
  contrasted.contrast_weight = 1;
  std::istringstream lines(core::read_text_file(train_table));
  std::string table;
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json record = nlohmann::json::parse(line);
    record.erase("contrasts");
    table += record.dump() + "\n";
  }
  core::write_file_atomically(train_table, table);
  try {
    run_training(contrasted, {});
    FAIL() << "it trained without";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidItem);
    EXPECT_THAT(error.message(), ::testing::HasSubstr("bifocal contrasts"));
  }
}

TEST_F(RetrievalRun, RefusesATeacherThatDoesNotLoad) {
  TrainConfig taught = config("bundle");
  taught.teacher = (directory / "nowhere").string();
  try {
    run_training(taught, {});
    FAIL() << "it trained without its teacher";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.message(), ::testing::HasSubstr("nowhere"));
  }
  EXPECT_FALSE(fs::exists(directory / "cache")) << "the towers ran before it was looked for";
}

TEST_F(RetrievalRun, TrainsTheVisionStagesThatItIsToldTo) {
  TrainConfig thawed = config("bundle");
  thawed.vision_stages = 1;
  thawed.augmented_views = 1;
  thawed.crop_min_area = 0.5;
  run_training(thawed, {});
  const auto before = core::Safetensors::open(parts.vision / "model.safetensors");
  const auto after = core::Safetensors::open(directory / "bundle/vision/model.safetensors");
  const auto same = [&](const std::string& name) {
    return std::ranges::equal(before.at(name).data, after.at(name).data);
  };
  EXPECT_FALSE(same("stages.1.0.expand.conv.weight"));
  EXPECT_FALSE(same("head.conv.weight"));
  for (const char* kept : {"stem.conv.weight", "stages.0.0.project.conv.weight",
                           "stages.1.0.expand.norm.running_mean", "classifier.weight"})
    EXPECT_TRUE(same(kept)) << kept;
  models::FusionModel::load(models::Bundle::open(directory / "bundle"), nn::Precision::kFp32);

  thawed = config("too many");
  thawed.vision_stages = 2;
  try {
    run_training(thawed, {});
    FAIL() << "nothing was left frozen";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), ::testing::HasSubstr("vision_stages"));
  }
}

TEST_F(RetrievalRun, KilledInEitherStageAndResumedGivesTheSameBundle) {
  run_training(config("whole"), {});
  struct DieAt : Observer {
    std::string phase;
    std::int64_t step;
    DieAt(std::string in, std::int64_t at) : phase(std::move(in)), step(at) {}
    void on_step(const LoopSettings& settings, const StepReport& report) override {
      if (settings.phase == phase && report.step == step) ::raise(SIGKILL);
    }
  };
  for (const auto& [phase, step] :
       {std::pair<std::string, std::int64_t>{"pooled heads", 5}, {"fusion", 8}}) {
    const std::string out = "killed in " + phase;
    EXPECT_EXIT(
        {
          DieAt die(phase, step);
          RunOptions options;
          options.observers = {&die};
          run_training(config(out), options);
        },
        ::testing::KilledBySignal(SIGKILL), "");
    RunOptions resume;
    resume.resume = true;
    run_training(config(out), resume);
    for (const char* file : {"fusion/model.safetensors", "text/model.safetensors"})
      EXPECT_EQ(digest(directory / out / file), digest(directory / "whole" / file)) << out;
  }
}

TEST_F(RetrievalRun, TwoProcessesTrainAsOneDoes) {
  const fs::path teacher = directory / "teacher";
  models::write_bundle(parts, teacher, /*replace=*/false);
  const auto without_masks = [this, &teacher](const std::string& out) {
    TrainConfig config = this->config(out);
    config.dropout = config.pooled_dropout = config.drop_connect = 0;
    config.vision_stages = 1;
    config.late_weight = 0.5;
    config.contrast_weight = 1;
    config.teacher = teacher.string();
    return config;
  };
  nlohmann::json text = core::JsonConfig::read(parts.text / "config.json").json();
  text["hidden_dropout_prob"] = text["attention_probs_dropout_prob"] = 0;
  core::write_file_atomically(parts.text / "config.json", text.dump());
  testing::expect_two_train_as_one(directory.path(), without_masks, {"pooled-heads", "fusion"});
  EXPECT_TRUE(fs::exists(directory / "two" / "bifocal.json"));
}

TEST_F(RetrievalRun, WhatAPhaseSaysThatItTrainsItSteps) {
  TrainConfig config = this->config("made");
  config.vision_stages = 1;
  config.late_weight = 0.5;
  run_training(config, {});
  for (const char* phase : {"pooled-heads", "fusion"})
    testing::expect_all_stepped(directory / "made.training" / phase);
}

TEST_F(RetrievalRun, TrainsOnAnotherDeviceAsOnTheCpu) {
  const fs::path teacher = directory / "teacher";
  models::write_bundle(parts, teacher, /*replace=*/false);
  testing::expect_same_on_second_device(directory.path(),
                                        [&](const std::string& out) {
                                          TrainConfig config = this->config(out);
                                          config.vision_stages = 1;
                                          config.late_weight = 0.5;
                                          config.contrast_weight = 1;
                                          config.teacher = teacher.string();
                                          return config;
                                        },
                                        {"pooled-heads", "fusion"});
}

TEST_F(RetrievalRun, TwoProcessesTrainOnAnotherDeviceAsOneOnTheCpu) {
  testing::expect_same_on_second_device(
      directory.path(),
      [&](const std::string& out) {
        TrainConfig config = this->config(out);
        config.dropout = config.pooled_dropout = 0;
        config.text_layers = 0;  // they have dropout of their own
        return config;
      },
      {"pooled-heads", "fusion"}, /*ranks=*/true);
}

TEST_F(RetrievalRun, OfSeveralSeedsTheBestIsKept) {
  TrainConfig both = config("both");
  both.seeds = 2;
  const RunReport report = run_training(both, {});
  const auto values = report.lines.front().at("values").get<std::vector<double>>();
  ASSERT_EQ(values.size(), 2);
  EXPECT_EQ(report.metrics.at("rsum"), std::max(values[0], values[1]));
  const models::Bundle bundle = models::Bundle::open(directory / "both");
  EXPECT_THAT(bundle.card(), ::testing::HasSubstr("2 seeds were run: rsum"));
  EXPECT_TRUE(fs::exists(directory / "both/training/pooled-heads-1.jsonl"));
  EXPECT_TRUE(fs::exists(directory / "both/training/fusion-2.jsonl"));
  // Each is what it is alone: the second does not go on where the first ended.
  for (const std::int64_t seed : {1, 2}) {
    TrainConfig alone = config("alone-" + std::to_string(seed));
    alone.seed = seed;
    EXPECT_EQ(run_training(alone, {}).metrics.at("rsum"),
              values[static_cast<std::size_t>(seed - 1)]);
  }
  const std::int64_t kept = values[1] > values[0] ? 2 : 1;
  const std::string made = "alone-" + std::to_string(kept);
  for (const char* file : {"fusion/model.safetensors", "text/model.safetensors"})
    EXPECT_EQ(digest(directory / "both" / file), digest(directory / made / file));
}

TEST_F(RetrievalRun, AnExistingBundleIsNotReplacedUnasked) {
  fs::create_directories(directory / "bundle");
  try {
    run_training(config("bundle"), {});
    FAIL() << "it was replaced";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), ::testing::HasSubstr("--force"));
  }
}

TEST(InfoNce, IsTheCrossEntropyOfBothDirections) {
  const at::Tensor a = at::eye(3),
                   b = at::tensor({1.f, 0.f, 0.f, 0.f, 0.f, 1.f, 0.f, 1.f, 0.f}).view({3, 3});
  // Logits: row 0 right by 2, rows 1 and 2 wrong by 2.
  const double right = std::log(std::exp(2.0) + 2) - 2, wrong = std::log(std::exp(2.0) + 2);
  EXPECT_NEAR(info_nce(a, b, at::tensor(2.0f), ProcessGroup()).item<double>(),
              (right + 2 * wrong) / 3, 1e-5);
}

TEST(FalsePairs, AreNeverTrueAndFollowTheLikeness) {
  at::Tensor cosines = at::zeros({6, 6});
  cosines[2][4] = 1;
  int likely = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const FalsePairs chosen = draw_false_pairs(cosines, 20, 6, Random(seed));
    ASSERT_EQ(chosen.pair.size(), 6u);
    for (std::size_t k = 0; k < 6; ++k) {
      EXPECT_NE(chosen.pair[k], chosen.caption[k]);
      EXPECT_NE(chosen.pair[k], chosen.image[k]);
      likely += chosen.pair[k] == 2 && chosen.caption[k] == 4 ? 1 : 0;
    }
  }
  // Half of the draws go by likeness, of the others one in five.
  EXPECT_NEAR(likely / 300.0, 0.6, 0.1);
}

TEST(RetrievalMetrics, CountsByHand) {
  // Two images of two captions each, and the second caption of image 1 nearest to image 0.
  RetrievalVectors vectors;
  vectors.image = at::eye(2);
  vectors.text = at::tensor({.9f, 0.f, .5f, .1f, 0.f, .8f, .95f, .2f}).view({4, 2});
  const Metrics metrics = retrieval_metrics(vectors, {0, 2, 4});
  EXPECT_DOUBLE_EQ(metrics.at("image_to_text_r1"), 50);
  EXPECT_DOUBLE_EQ(metrics.at("text_to_image_r1"), 75);
  EXPECT_DOUBLE_EQ(metrics.at("image_to_text_r5"), 100);
  EXPECT_DOUBLE_EQ(metrics.at("rsum"), 50 + 75 + 4 * 100);
}

}  // namespace
}  // namespace bifocal::training
