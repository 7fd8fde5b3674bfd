#include "training/trainer.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "bifocal/error.h"
#include "line_fit.h"
#include "temporary_directory.h"
#include "training/weight_average.h"

namespace bifocal::training {
namespace {

using ::testing::HasSubstr;
using testing::LineFit;
using testing::TemporaryDirectory;

LoopSettings settings() {
  LoopSettings settings;
  settings.seed = 7;
  settings.epochs = 6;
  settings.batch_size = 4;
  settings.accumulation = 2;
  settings.average_decay = 0.9;
  settings.metric = "slope_error";
  settings.smaller_is_better = true;
  settings.checkpoint_every = 4;
  settings.log_every = 1;
  return settings;
}

struct DieAt : Observer {
  std::int64_t step;
  explicit DieAt(std::int64_t at) : step(at) {}
  void on_step(const LoopSettings& /*settings*/, const StepReport& report) override {
    if (report.step == step) ::raise(SIGKILL);
  }
};

struct Steps : Observer {
  std::vector<StepReport> reports;
  void on_step(const LoopSettings& /*settings*/, const StepReport& report) override {
    reports.push_back(report);
  }
};

void expect_equal_bits(LineFit& ours, LineFit& theirs) {
  for (const auto& [name, tensor] : ours.state())
    EXPECT_TRUE(at::equal(tensor.detach(), theirs.state().at(name).detach())) << name;
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Trainer, FitsALineAndKeepsTheBestWeights) {
  const TemporaryDirectory directory;
  LineFit fit;
  LoopSettings longer = settings();
  longer.epochs = 200;
  longer.clip_norm = 0;
  longer.divergence_factor = 0;  // a point that is dropped costs much of so small a loss
  const TrainingResult result = train(fit, longer, {directory.path(), false, {}, {}});
  EXPECT_EQ(result.ended, TrainingResult::Ended::kCompleted);
  EXPECT_EQ(result.steps, 1000);
  EXPECT_LT(result.metrics.at("slope_error"), 0.2);
  EXPECT_DOUBLE_EQ(fit.evaluate().at("slope_error"), result.metrics.at("slope_error"));
}

TEST(Trainer, KilledAndResumedGivesTheSameBits) {
  const TemporaryDirectory whole, killed;
  LineFit uninterrupted;
  train(uninterrupted, settings(), {whole.path(), false, {}, {}});

  EXPECT_EXIT(
      {
        LineFit doomed;
        DieAt die(11);
        train(doomed, settings(), {killed.path(), false, {&die}, {}});
      },
      ::testing::KilledBySignal(SIGKILL), "");

  LineFit resumed;
  Steps steps;
  const TrainingResult result = train(resumed, settings(), {killed.path(), true, {&steps}, {}});
  EXPECT_EQ(steps.reports.front().step, 9) << "it did not go on from the checkpoint of step 8";
  EXPECT_EQ(result.steps, 30);
  expect_equal_bits(resumed, uninterrupted);
}

TEST(Trainer, TheLogOfAResumedRunHasEachStepOnce) {
  const TemporaryDirectory killed;
  EXPECT_EXIT(
      {
        LineFit doomed;
        DieAt die(11);
        train(doomed, settings(), {killed.path(), false, {&die}, {}});
      },
      ::testing::KilledBySignal(SIGKILL), "");
  LineFit resumed;
  train(resumed, settings(), {killed.path(), true, {}, {}});
  std::ifstream log(killed / "metrics.jsonl");
  std::int64_t expected = 1;
  for (std::string line; std::getline(log, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.at("event") == "step") {
      EXPECT_EQ(json.at("step"), expected++);
    }
  }
  EXPECT_EQ(expected, 31);
}

TEST(Trainer, AnInterruptedRunSavesAndGoesOn) {
  const TemporaryDirectory whole, stopped;
  LineFit uninterrupted;
  train(uninterrupted, settings(), {whole.path(), false, {}, {}});
  LineFit first;
  int asked = 0;
  const TrainingResult half =
      train(first, settings(), {stopped.path(), false, {}, [&asked] { return ++asked == 7; }});
  EXPECT_EQ(half.ended, TrainingResult::Ended::kInterrupted);
  EXPECT_EQ(half.steps, 7);
  LineFit second;
  train(second, settings(), {stopped.path(), true, {}, {}});
  expect_equal_bits(second, uninterrupted);
}

TEST(Trainer, OtherSettingsDoNotResume) {
  const TemporaryDirectory directory;
  LineFit first;
  train(first, settings(), {directory.path(), false, {}, {}});
  LoopSettings other = settings();
  other.batch_size = 5;
  LineFit second;
  try {
    train(second, other, {directory.path(), true, {}, {}});
    FAIL() << "it went on with other settings";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.message(), HasSubstr("batch_size (was 4, is 5)"));
  }
}

TEST(Trainer, ALossThatIsNotANumberStopsWithStepSamplesAndAdvice) {
  const TemporaryDirectory directory;
  LineFit fit;
  fit.broken_batch = 5;
  try {
    train(fit, settings(), {directory.path(), false, {}, {}});
    FAIL() << "it trained on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNumerical);
    EXPECT_THAT(error.message(), HasSubstr("step 3 of 30"));
    EXPECT_THAT(error.message(), HasSubstr("point "));
    EXPECT_THAT(error.message(), HasSubstr("learning_rate"));
  }
}

TEST(Trainer, ADivergingLossStops) {
  const TemporaryDirectory directory;
  class Explodes : public LineFit {
   public:
    Loss loss(const Batch& batch) override {
      Loss loss = LineFit::loss(batch);
      loss.total = loss.total * std::pow(2.0, static_cast<double>(batch.number));
      return loss;
    }
  } fit;
  try {
    train(fit, settings(), {directory.path(), false, {}, {}});
    FAIL() << "it trained on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNumerical);
    EXPECT_THAT(error.message(), HasSubstr("diverges"));
  }
}

TEST(Trainer, StopsWhenPatienceEndsAlsoIfResumed) {
  const TemporaryDirectory directory;
  class GetsWorse : public LineFit {
   public:
    Metrics evaluate() override { return {{"slope_error", static_cast<double>(++calls_)}}; }

   private:
    int calls_ = 0;
  } fit;
  LoopSettings patient = settings();
  patient.patience = 2;
  const TrainingResult result = train(fit, patient, {directory.path(), false, {}, {}});
  EXPECT_EQ(result.ended, TrainingResult::Ended::kStoppedEarly);
  EXPECT_EQ(result.best_step, 5);
  EXPECT_EQ(result.steps, 15);
  GetsWorse again;
  EXPECT_EQ(train(again, patient, {directory.path(), true, {}, {}}).steps, 15);
}

TEST(Trainer, AFullDiskLosesNothingThatWasSaved) {
  const TemporaryDirectory directory;
  LineFit first;
  int asked = 0;
  train(first, settings(), {directory.path(), false, {}, [&asked] { return ++asked == 7; }});
  const std::string before = contents(directory / "step-00000007/weights.safetensors");

  // A file may not grow beyond a few bytes, as on a full disk.
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited{};
  ::getrlimit(RLIMIT_FSIZE, &unlimited);
  const rlimit full{16, unlimited.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &full);
  LineFit second;
  try {
    train(second, settings(), {directory.path(), true, {}, {}});
    ADD_FAILURE() << "it saved on a full disk";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
  }
  ::setrlimit(RLIMIT_FSIZE, &unlimited);
  ::signal(SIGXFSZ, SIG_DFL);

  EXPECT_EQ(contents(directory / "step-00000007/weights.safetensors"), before);
  const TemporaryDirectory whole;
  LineFit uninterrupted, third;
  train(uninterrupted, settings(), {whole.path(), false, {}, {}});
  train(third, settings(), {directory.path(), true, {}, {}});
  expect_equal_bits(third, uninterrupted);
}

TEST(WeightAverage, BorrowedWeightsComeBackToTheBit) {
  LineFit fit;
  nn::StateDict live = fit.state();
  WeightAverage average(live, 0.5);
  {
    const c10::NoGradGuard no_grad;
    live.at("weight").fill_(0.1f);
  }
  average.update();
  // min(0.5, 2 / 11) of the old 0 and the rest of the new.
  EXPECT_NEAR(average.average().at("weight").item<double>(), 0.1 * 9 / 11, 1e-7);
  {
    const BorrowedWeights borrowed(live, average.average());
    EXPECT_NEAR(live.at("weight").item<double>(), 0.1 * 9 / 11, 1e-7);
  }
  EXPECT_EQ(live.at("weight").item<float>(), 0.1f);
}

}  // namespace
}  // namespace bifocal::training
