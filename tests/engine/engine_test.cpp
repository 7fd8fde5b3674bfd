#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "encoded_picture.h"
#include "engine/session.h"
#include "models/fusion_model.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"

namespace bifocal::engine {
namespace {

using namespace std::chrono_literals;
using ::bifocal::testing::encoded_picture;

class EngineTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<bifocal::testing::TemporaryDirectory>();
    model_ = models::FusionModel::load(
        models::Bundle::open(bifocal::testing::write_tiny_bundle(directory_->path())),
        nn::Precision::kFp32);
  }
  static void TearDownTestSuite() {
    model_.reset();
    directory_.reset();
  }

  static std::shared_ptr<const std::vector<Item>> texts(std::size_t count) {
    auto items = std::make_shared<std::vector<Item>>(count);
    for (Item& item : *items) item.text = "a red dog runs";
    return items;
  }

  static JobRequest job(std::shared_ptr<const std::vector<Item>> items, std::string client,
                        std::function<void(JobResult)> done) {
    JobRequest request;
    request.model = model_;
    request.items = *items;
    request.owner = std::move(items);
    request.client = std::move(client);
    request.done = std::move(done);
    return request;
  }

  static EngineOptions one_worker() {
    EngineOptions options;
    options.workers = 1;
    options.preparers = 1;
    return options;
  }

  static std::unique_ptr<bifocal::testing::TemporaryDirectory> directory_;
  static std::shared_ptr<const models::FusionModel> model_;
};
std::unique_ptr<bifocal::testing::TemporaryDirectory> EngineTest::directory_;
std::shared_ptr<const models::FusionModel> EngineTest::model_;

// A worker that has nothing else to do: `batch_delay` keeps the first job's rows waiting so that
// the test can act before they run.
EngineOptions slow_to_begin() {
  EngineOptions options;
  options.workers = 1;
  options.preparers = 1;
  options.batch_delay = 200ms;
  return options;
}

TEST_F(EngineTest, AnEmptyJobIsDoneAtOnce) {
  Engine engine(one_worker());
  std::promise<std::size_t> done;
  engine.submit(
      job(texts(0), "a", [&](JobResult result) { done.set_value(result.outcomes.size()); }));
  EXPECT_EQ(done.get_future().get(), 0u);
}

TEST_F(EngineTest, ManyJobsOfManyClientsAreEachToldOnceInTheirOwnOrder) {
  EngineOptions options;
  options.workers = 2;
  Engine engine(options);
  constexpr std::size_t kJobs = 60;
  std::atomic<std::size_t> told{0}, wrong{0};
  std::promise<void> all;
  for (std::size_t i = 0; i < kJobs; ++i) {
    auto items = std::make_shared<std::vector<Item>>(1 + i % 9);
    for (std::size_t k = 0; k < items->size(); ++k) {
      if (k % 3 != 2) (*items)[k].text = "the cat sleeps on the house";
      if (k % 3 == 1) (*items)[k].image = encoded_picture(static_cast<std::uint32_t>(k));
      // Every third has nothing: it fails alone.
    }
    const std::size_t count = items->size();
    engine.submit(job(items, "client" + std::to_string(i % 5), [&, count](JobResult result) {
      if (result.outcomes.size() != count) ++wrong;
      for (std::size_t k = 0; k < result.outcomes.size(); ++k) {
        const auto& outcome = result.outcomes[k];
        if (outcome.ok() != (k % 3 != 2)) ++wrong;
        if (outcome.ok() &&
            outcome.value().provenance.side != (k % 3 == 1 ? Side::kFused : Side::kText))
          ++wrong;
      }
      if (++told == kJobs) all.set_value();
    }));
  }
  all.get_future().get();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(engine.load().items, 0u);
  EXPECT_EQ(engine.load().bytes, 0u);
}

TEST_F(EngineTest, WhatIsCancelledNeverReachesAForwardPass) {
  EngineOptions options = slow_to_begin();
  std::atomic<std::size_t> rows{0};
  options.on_batch = [&](const BatchReport& report) { rows += report.rows; };
  Engine engine(options);
  std::promise<JobResult> done;
  const Ticket ticket = engine.submit(
      job(texts(5), "a", [&](JobResult result) { done.set_value(std::move(result)); }));
  engine.cancel(ticket);
  const JobResult result = done.get_future().get();
  for (const auto& outcome : result.outcomes)
    EXPECT_EQ(outcome.error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(rows, 0u);
}

TEST_F(EngineTest, AForwardPassThatThrowsFailsItsOwnItemsAndTheWorkerGoesOn) {
  Engine engine(one_worker());
  auto pictures = std::make_shared<std::vector<Item>>(3);
  for (Item& item : *pictures) item.image = encoded_picture(8, 8);
  std::promise<JobResult> thrown, good;
  JobRequest request =
      job(pictures, "a", [&](JobResult result) { thrown.set_value(std::move(result)); });
  request.task.kind = Task::Kind::kTokenStates;  // of pictures: thrown in the middle of the pass
  engine.submit(std::move(request));
  engine.submit(job(texts(3), "b", [&](JobResult result) { good.set_value(std::move(result)); }));
  for (const auto& outcome : thrown.get_future().get().outcomes) {
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.error().code(), ErrorCode::kInvalidItem);
  }
  for (const auto& outcome : good.get_future().get().outcomes) EXPECT_TRUE(outcome.ok());
}

// Every weight of the fusion layer is NaN: what comes out must be errors.
TEST_F(EngineTest, NumbersThatAreNoneNeverLeave) {
  const bifocal::testing::TemporaryDirectory directory;
  const auto bundle = bifocal::testing::write_tiny_bundle(directory.path());
  std::fstream file(bundle / "fusion" / "model.safetensors",
                    std::ios::in | std::ios::out | std::ios::binary);
  std::uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  file.seekg(0, std::ios::end);
  const auto data = static_cast<std::uint64_t>(file.tellg()) - header - sizeof header;
  file.seekp(static_cast<std::streamoff>(header + sizeof header));
  file << std::string(data, '\xff');
  file.close();
  Engine engine(one_worker());
  std::promise<JobResult> done;
  JobRequest request =
      job(texts(2), "a", [&](JobResult result) { done.set_value(std::move(result)); });
  request.model = models::FusionModel::load(models::Bundle::open(bundle), nn::Precision::kFp32);
  engine.submit(std::move(request));
  for (const auto& outcome : done.get_future().get().outcomes) {
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.error().code(), ErrorCode::kNumerical);
  }
}

TEST_F(EngineTest, WhatIsTooLateNeverReachesAForwardPass) {
  EngineOptions options = slow_to_begin();
  std::atomic<std::size_t> rows{0};
  options.on_batch = [&](const BatchReport& report) { rows += report.rows; };
  Engine engine(options);
  std::promise<JobResult> done;
  JobRequest request =
      job(texts(5), "a", [&](JobResult result) { done.set_value(std::move(result)); });
  request.deadline = Clock::now() + 20ms;
  engine.submit(std::move(request));
  const JobResult result = done.get_future().get();
  for (const auto& outcome : result.outcomes)
    EXPECT_EQ(outcome.error().code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(rows, 0u);
}

TEST_F(EngineTest, RefusesAtOnceWhatWouldWaitTooLongAndSaysUntilWhen) {
  Engine engine(slow_to_begin());
  AdmissionLimits limits;
  limits.max_items = 10;
  std::promise<void> first;
  engine.submit(job(texts(8), "a", [&](JobResult) { first.set_value(); }), &limits);
  bool told = false;
  try {
    engine.submit(job(texts(3), "b", [&](JobResult) { told = true; }), &limits);
    ADD_FAILURE() << "was admitted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOverloaded);
    ASSERT_TRUE(error.retry_after().has_value());
    EXPECT_GT(error.retry_after()->count(), 0);
  }
  first.get_future().get();
  EXPECT_FALSE(told);
  // A job larger than the limit is served where nothing else waits.
  std::promise<void> large;
  engine.submit(job(texts(50), "b", [&](JobResult) { large.set_value(); }), &limits);
  large.get_future().get();
}

TEST_F(EngineTest, ADeadlineThatCannotBeMetIsRefusedBeforeAnyWork) {
  EngineOptions options = one_worker();
  std::atomic<std::size_t> rows{0};
  options.on_batch = [&](const BatchReport& report) { rows += report.rows; };
  Engine engine(options);
  AdmissionLimits limits;
  JobRequest request = job(texts(1000), "a", [](JobResult) {});
  request.deadline = Clock::now() + 1us;
  EXPECT_THROW(engine.submit(std::move(request), &limits), Error);
  EXPECT_EQ(rows, 0u);
}

TEST_F(EngineTest, OneClientsThousandsDoNotHoldUpAnothersOne) {
  std::mutex mutex;
  std::vector<std::string> order;
  Engine engine(one_worker());
  std::promise<void> all;
  const auto note = [&](const char* name) {
    return [&, name](JobResult) {
      const std::lock_guard lock(mutex);
      order.emplace_back(name);
      if (order.size() == 2) all.set_value();
    };
  };
  engine.submit(job(texts(2048), "large", note("large")));
  engine.submit(job(texts(1), "small", note("small")));
  all.get_future().get();
  EXPECT_THAT(order, ::testing::ElementsAre("small", "large"));
}

TEST_F(EngineTest, StoppingTellsEveryJobThatWaits) {
  std::atomic<std::size_t> told{0};
  {
    Engine engine(slow_to_begin());
    for (int i = 0; i < 20; ++i) engine.submit(job(texts(50), "a", [&](JobResult) { ++told; }));
  }
  EXPECT_EQ(told, 20u);
}

TEST_F(EngineTest, BatchesFormAcrossJobs) {
  EngineOptions options = slow_to_begin();
  std::atomic<std::size_t> batches{0};
  options.on_batch = [&](const BatchReport&) { ++batches; };
  Engine engine(options);
  std::atomic<int> told{0};
  std::promise<void> all;
  for (int i = 0; i < 16; ++i)
    engine.submit(job(texts(1), "client" + std::to_string(i), [&](JobResult) {
      if (++told == 16) all.set_value();
    }));
  all.get_future().get();
  EXPECT_LT(batches, 16u);
}

TEST_F(EngineTest, TokenStatesHaveARowForEachToken) {
  Engine engine(one_worker());
  std::promise<JobResult> done;
  auto items = std::make_shared<std::vector<Item>>(2);
  (*items)[0].text = "a red dog";
  (*items)[1].text = "the cat sleeps on the house";
  JobRequest request =
      job(items, "a", [&](JobResult result) { done.set_value(std::move(result)); });
  request.task.kind = Task::Kind::kTokenStates;
  request.options.side = Side::kText;
  engine.submit(std::move(request));
  const JobResult result = done.get_future().get();
  for (const auto& outcome : result.outcomes)
    EXPECT_EQ(outcome.value().values.size(),
              static_cast<std::size_t>(outcome.value().provenance.tokens) * 32);
}

}  // namespace
}  // namespace bifocal::engine
