#include "training/process_group.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bifocal/error.h"
#include "line_fit.h"
#include "ranks.h"
#include "temporary_directory.h"
#include "training/gradient_buckets.h"
#include "training/trainer.h"

namespace bifocal::training {
namespace {

using ::testing::Each;
using testing::in_ranks;
using testing::LineFit;
using testing::require;
using testing::TemporaryDirectory;

TEST(ProcessGroup, AloneEveryCallIsTheIdentity) {
  ProcessGroup alone;
  EXPECT_EQ(alone.size(), 1);
  EXPECT_TRUE(alone.is_first());
  at::Tensor values = at::arange(4, at::kFloat);
  EXPECT_TRUE(alone.gather(values).is_same(values));
  alone.sum(values);
  alone.broadcast(values);
  EXPECT_TRUE(values.equal(at::arange(4, at::kFloat)));
  EXPECT_EQ(alone.from_first([] { return std::string("made"); }), "made");
}

TEST(ProcessGroup, GathersSumsAndTells) {
  EXPECT_THAT(in_ranks(3,
                       [](ProcessGroup& group) {
                         require(group.size() == 3, "there are three");
                         const auto rank = static_cast<float>(group.rank());
                         const at::Tensor all = group.gather(at::full({2, 1}, rank));
                         require(all.view(-1).equal(at::arange(3, at::kFloat).repeat_interleave(2)),
                                 "rows stand in the order of ranks");
                         at::Tensor sum = at::full({2}, rank + 1);
                         group.sum(sum);
                         require(sum.equal(at::full({2}, 6.0f)), "1 + 2 + 3");
                         at::Tensor told = at::full({2}, rank);
                         group.broadcast(told);
                         require(told.equal(at::full({2}, 0.0f)), "rank 0's");
                         require(group.from_first([&group] {
                           require(group.is_first(), "made once");
                           return std::string("a word");
                         }) == "a word",
                                 "the word arrives");
                         require(group.from_first([] { return std::string(); }).empty(), "nothing");
                       }),
              Each(0));
}

// Every rank's loss has every rank's rows: what a rank's rows get is the sum over ranks.
TEST(ProcessGroup, GatherPassesGradientsBack) {
  EXPECT_THAT(
      in_ranks(2,
               [](ProcessGroup& group) {
                 const at::Tensor own =
                     at::full({1, 2}, static_cast<float>(group.rank() + 1)).requires_grad_(true);
                 const auto weight = static_cast<double>(10 * (group.rank() + 1));
                 (group.gather(own) * weight).sum().backward();
                 require(own.grad().equal(at::full({1, 2}, 30.0f)), "10 + 20");
               }),
      Each(0));
}

TEST(ProcessGroup, ARankThatOthersWaitedForIsFirst) {
  const TemporaryDirectory directory;
  const std::string file = (directory / "made").string();
  EXPECT_THAT(in_ranks(2,
                       [&file](ProcessGroup& group) {
                         group.first_then_others([&] {
                           if (group.is_first()) {
                             ::usleep(200'000);
                             std::ofstream(file) << "made";
                           } else {
                             require(std::ifstream(file).good(), "it is there by now");
                           }
                         });
                       }),
              Each(0));
}

TEST(ProcessGroup, SaysWhatIsMissingOrWrong) {
  const auto message = [](std::map<std::string, std::string> variables) {
    for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) ::unsetenv(name);
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    std::string said;
    try {
      ProcessGroup::from_environment();
    } catch (const Error& error) {
      said = error.message();
    }
    for (const auto& [name, value] : variables) ::unsetenv(name.c_str());
    return said;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({{"WORLD_SIZE", "1"}, {"RANK", "0"}}), "");
  EXPECT_THAT(message({{"WORLD_SIZE", "2"}}), ::testing::HasSubstr("RANK is not set"));
  EXPECT_THAT(message({{"WORLD_SIZE", "2"}, {"RANK", "2"}}),
              ::testing::HasSubstr("RANK: \"2\" is not a number from 0 to 1"));
  EXPECT_THAT(message({{"WORLD_SIZE", "two"}, {"RANK", "0"}}),
              ::testing::HasSubstr("WORLD_SIZE: \"two\""));
  EXPECT_THAT(message({{"WORLD_SIZE", "2"}, {"RANK", "0"}, {"MASTER_ADDR", "127.0.0.1"}}),
              ::testing::HasSubstr("MASTER_PORT is not set"));
}

// Three parameters in buckets of one each, one of them used by one rank alone, one by none.
TEST(GradientBuckets, GradientsAreTheMeanOverRanks) {
  EXPECT_THAT(in_ranks(2,
                       [](ProcessGroup& group) {
                         const auto parameter = [](float value) {
                           return at::full({3}, value).requires_grad_(true);
                         };
                         const at::Tensor a = parameter(1), b = parameter(2), c = parameter(3);
                         GradientBuckets buckets(
                             group, {{"all", {{"a", a}, {"b", b}, {"c", c}}, 1, 0}}, sizeof(float));
                         for (int step = 0; step < 2; ++step) {
                           for (const at::Tensor& one : {a, b, c})
                             at::Tensor(one).mutable_grad().reset();
                           at::Tensor loss = (a * static_cast<double>(group.rank() + 1)).sum();
                           if (group.rank() == 1) loss = loss + (b * b).sum();
                           loss.backward();  // of a step with two passes, the first
                           loss = (a * 4).sum();
                           buckets.arm();
                           loss.backward();
                           buckets.finish();
                           require(a.grad().equal(at::full({3}, 5.5f)), "(1 + 4 + 2 + 4) / 2");
                           require(b.grad().equal(at::full({3}, 2.0f)), "half of rank 1's");
                           require(!c.grad().defined(), "nobody used it");
                         }
                       }),
              Each(0));
}

LoopSettings settings() {
  LoopSettings settings;
  settings.seed = 7;
  settings.epochs = 6;
  settings.batch_size = 8;
  settings.accumulation = 1;
  settings.average_decay = 0.9;
  settings.metric = "slope_error";
  settings.smaller_is_better = true;
  settings.checkpoint_every = 4;
  return settings;
}

TEST(TrainingInRanks, GivesTheWeightsOfOneProcess) {
  const TemporaryDirectory alone, shared;
  LineFit one(/*samples=*/40, /*dropout=*/0);
  const TrainingResult result = train(one, settings(), {alone.path(), false, {}, {}});
  for (const bool resumed : {false, true}) {
    EXPECT_THAT(
        in_ranks(2,
                 [&](ProcessGroup& group) {
                   LineFit fit(40, 0);
                   int asked = 0;
                   const TrainingResult half =
                       train(fit, settings(),
                             {shared.path(),
                              resumed,
                              {},
                              // One rank's signal stops both.
                              [&] { return !resumed && group.rank() == 1 && ++asked == 13; },
                              &group});
                   const bool stopped = half.ended == TrainingResult::Ended::kInterrupted;
                   require(stopped == !resumed, "both ended alike");
                   if (!resumed) return;
                   require(half.steps == result.steps && half.best_step == result.best_step,
                           "the same best step");
                   for (const char* name : {"weight", "bias"})
                     require(at::allclose(fit.state().at(name), one.state().at(name), 1e-5, 1e-6),
                             name);
                 }),
        Each(0));
  }
  std::ifstream log(shared / "metrics.jsonl");
  std::int64_t evaluations = 0;
  for (std::string line; std::getline(log, line);)
    evaluations += nlohmann::json::parse(line).at("event") == "evaluation";
  EXPECT_EQ(evaluations, 6) << "rank 0 alone writes the log";
}

TEST(TrainingInRanks, ALostRankEndsTheOthersAndSaysSo) {
  const TemporaryDirectory shared;
  const std::string said = (shared / "said").string();
  const std::vector<int> ends = in_ranks(2, [&](ProcessGroup& group) {
    LineFit fit(40, 0);
    try {
      train(fit, settings(),
            {shared.path(),
             false,
             {},
             [&group] {
               if (group.rank() == 1) ::raise(SIGKILL);
               return false;
             },
             &group});
    } catch (const Error& error) {
      std::ofstream(said) << error.message();
      require(error.code() == ErrorCode::kIo, "it is about the connection");
    }
  });
  EXPECT_EQ(ends[0], 0);
  EXPECT_TRUE(WIFSIGNALED(ends[1]));
  std::string line;
  std::getline(std::ifstream(said) >> std::ws, line);
  EXPECT_THAT(line, ::testing::HasSubstr("another rank was lost"));
  EXPECT_THAT(line, ::testing::HasSubstr("--resume"));
}

TEST(TrainingInRanks, ABatchThatCannotBeSharedIsRefused) {
  const TemporaryDirectory shared;
  EXPECT_THAT(in_ranks(2,
                       [&](ProcessGroup& group) {
                         LoopSettings odd = settings();
                         odd.batch_size = 7;
                         LineFit fit(40, 0);
                         try {
                           train(fit, odd, {shared.path(), false, {}, {}, &group});
                         } catch (const Error& error) {
                           require(error.message().starts_with("batch_size: a batch of 7"),
                                   error.message());
                           return;
                         }
                         require(false, "it is refused");
                       }),
              Each(0));
}

}  // namespace
}  // namespace bifocal::training
