#include "engine/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>

#include "encoded_picture.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"

namespace bifocal::engine {
namespace {

using ::bifocal::testing::encoded_picture;
using ::testing::HasSubstr;

// One toy bundle and one session for all of the tests: both are immutable.
class SessionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<bifocal::testing::TemporaryDirectory>();
    const auto path = bifocal::testing::write_tiny_bundle(
        directory_->path(), {{"animal", {"dog", "cat", "none"}}, {"place", {"in", "out"}}});
    EngineOptions options;
    options.workers = 2;
    session_ = std::make_unique<Session>(
        Session::open(path, LoadOptions{}, std::make_shared<Engine>(options)));
  }
  static void TearDownTestSuite() {
    session_.reset();
    directory_.reset();
  }

  static Item random_item(std::mt19937& random) {
    static constexpr const char* kWords[] = {"a", "red", "dog", "cat", "runs", "house", "zebra"};
    Item item;
    const auto sides = 1 + random() % 3;
    if (sides & 1) item.image = encoded_picture(static_cast<std::uint32_t>(random()));
    if (sides & 2) {
      std::string text;
      for (auto words = 1 + random() % 30; words > 0; --words)
        text += std::string(kWords[random() % std::size(kWords)]) + " ";
      item.text = text;
    }
    return item;
  }

  static std::unique_ptr<bifocal::testing::TemporaryDirectory> directory_;
  static std::unique_ptr<Session> session_;
};
std::unique_ptr<bifocal::testing::TemporaryDirectory> SessionTest::directory_;
std::unique_ptr<Session> SessionTest::session_;

std::vector<float> embedding_of(const Session& session, const Item& item,
                                const EmbedOptions& options = {}) {
  return session.embed(std::span(&item, 1), options).front().value().values;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST_F(SessionTest, ABatchGivesWhatItsItemsGiveAloneInAnyOrder) {
  std::mt19937 random(11);
  for (int round = 0; round < 5; ++round) {
    std::vector<Item> items(150);  // more than one chunk
    std::generate(items.begin(), items.end(), [&] { return random_item(random); });
    const auto together = session_->embed(items, {});
    ASSERT_EQ(together.size(), items.size());
    std::vector<std::size_t> order(items.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    std::vector<Item> shuffled;
    for (const std::size_t i : order) shuffled.push_back(items[i]);
    const auto reordered = session_->embed(shuffled, {});
    for (std::size_t i = 0; i < order.size(); ++i)
      EXPECT_LT(largest_difference(reordered[i].value().values, together[order[i]].value().values),
                1e-5f);
    for (std::size_t i = 0; i < items.size(); i += 17)
      EXPECT_LT(largest_difference(embedding_of(*session_, items[i]), together[i].value().values),
                1e-5f);
  }
}

TEST_F(SessionTest, WorkersThatShareTheirPassesGiveTheSameVectors) {
  EngineOptions options;
  options.workers = 2;
  options.threads_per_worker = 3;
  options.pin_workers = true;
  const Session shared =
      Session::open(*directory_ / "bundle", LoadOptions{}, std::make_shared<Engine>(options));
  std::mt19937 random(5);
  std::vector<Item> items(40);
  std::generate(items.begin(), items.end(), [&] { return random_item(random); });
  const auto together = shared.embed(items, {});
  for (std::size_t i = 0; i < items.size(); ++i)
    EXPECT_LT(largest_difference(embedding_of(*session_, items[i]), together[i].value().values),
              1e-5f);
}

TEST_F(SessionTest, VectorsHaveLengthOneAndTellWhatWasDone) {
  Item item;
  item.image = encoded_picture(1, 50, 20);
  item.text = "a red dog";
  const auto result = session_->embed(std::span(&item, 1), {}).front();
  const Embedding& embedding = result.value();
  EXPECT_NEAR(std::inner_product(embedding.values.begin(), embedding.values.end(),
                                 embedding.values.begin(), 0.0),
              1.0, 1e-5);
  EXPECT_EQ(embedding.provenance.side, Side::kFused);
  EXPECT_EQ(embedding.provenance.tokens, 5);
  EXPECT_EQ(embedding.provenance.cut_tokens, 0);
  EXPECT_EQ(embedding.provenance.windows, 1);
  EXPECT_EQ(embedding.provenance.image_width, 50);
  EXPECT_EQ(embedding.provenance.image_height, 20);
}

TEST_F(SessionTest, OneSideOfAnItemIsTheItemThatHasOnlyThatSide) {
  Item both, image, text;
  both.image = image.image = encoded_picture(2);
  both.text = text.text = "the cat sleeps";
  EmbedOptions only;
  only.side = Side::kImage;
  EXPECT_EQ(embedding_of(*session_, both, only), embedding_of(*session_, image));
  only.side = Side::kText;
  EXPECT_EQ(embedding_of(*session_, both, only), embedding_of(*session_, text));
  EXPECT_GT(largest_difference(embedding_of(*session_, both), embedding_of(*session_, image)),
            1e-3f);
}

TEST_F(SessionTest, ABadItemFailsAloneAndInItsPlace) {
  std::vector<Item> items(6);
  items[0].text = "a dog";
  items[1].image = std::vector<std::byte>(100, std::byte{1});
  items[2].text = "bad \xff utf-8";
  items[4].text = "   ";
  items[5].image = encoded_picture(3);
  const auto results = session_->embed(items, {});
  EXPECT_EQ(results[0].value().values, embedding_of(*session_, items[0]));
  EXPECT_EQ(results[1].error().code(), ErrorCode::kUnsupportedImage);
  EXPECT_EQ(results[2].error().code(), ErrorCode::kInvalidText);
  EXPECT_EQ(results[3].error().code(), ErrorCode::kInvalidItem);
  EXPECT_EQ(results[4].error().code(), ErrorCode::kInvalidText);
  EXPECT_EQ(results[5].value().values, embedding_of(*session_, items[5]));
}

TEST_F(SessionTest, LongTextIsCutAndCountedOrReadInWindows) {
  Item item;
  for (int i = 0; i < 50; ++i) item.text = item.text.value_or("") + "red dog ";
  const auto cut = session_->embed(std::span(&item, 1), {}).front();
  EXPECT_EQ(cut.value().provenance.tokens, 24);
  EXPECT_EQ(cut.value().provenance.cut_tokens, 100 - 22);

  EmbedOptions windows;
  windows.long_text = LongText::kWindows;
  const auto whole = session_->embed(std::span(&item, 1), windows).front();
  EXPECT_EQ(whole.value().provenance.cut_tokens, 0);
  EXPECT_EQ(whole.value().provenance.windows, 5);  // 100 pieces, 22 a window
  EXPECT_EQ(whole.value().provenance.tokens, 100 + 5 * 2);
  EXPECT_NEAR(std::inner_product(whole.value().values.begin(), whole.value().values.end(),
                                 whole.value().values.begin(), 0.0),
              1.0, 1e-5);
  // With a picture, each window is fused with it.
  item.image = encoded_picture(4);
  EXPECT_GT(largest_difference(embedding_of(*session_, item, windows), whole.value().values),
            1e-3f);
}

TEST_F(SessionTest, WindowsChangeNothingForAShortText) {
  Item item;
  item.text = "the cat";
  EmbedOptions windows;
  windows.long_text = LongText::kWindows;
  EXPECT_EQ(embedding_of(*session_, item, windows), embedding_of(*session_, item));
}

TEST_F(SessionTest, ClassProbabilitiesSumToOneBestFirst) {
  Item item;
  item.text = "a red dog";
  ClassifyOptions options;
  options.label_set = "animal";
  options.top_k = 0;
  const auto result = session_->classify(std::span(&item, 1), options).front();
  const Classification& all = result.value();
  EXPECT_EQ(all.label_set, "animal");
  ASSERT_EQ(all.scores.size(), 3u);
  float total = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    total += all.scores[i].score;
    if (i > 0) {
      EXPECT_LE(all.scores[i].score, all.scores[i - 1].score);
    }
  }
  EXPECT_NEAR(total, 1.0f, 1e-5f);
  options.top_k = 1;
  const auto best = session_->classify(std::span(&item, 1), options).front();
  ASSERT_EQ(best.value().scores.size(), 1u);
  EXPECT_EQ(best.value().scores[0].label, all.scores[0].label);
}

TEST_F(SessionTest, AnUnknownLabelSetIsRefusedWithTheKnownOnes) {
  Item item;
  item.text = "a";
  for (const char* name : {"", "colour"}) {
    ClassifyOptions options;
    options.label_set = name;
    try {
      session_->classify(std::span(&item, 1), options);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.message(), HasSubstr("animal, place"));
    }
  }
}

TEST_F(SessionTest, AMatchIsBetweenTwoSides) {
  std::vector<Item> items(3);
  items[0].image = encoded_picture(5);
  items[0].text = "a cat";
  items[1].text = "a cat";
  items[2].image = items[0].image;
  const auto results = session_->match(items);
  const Match& match = results[0].value();
  EXPECT_NEAR(match.probability, 1 / (1 + std::exp(-match.logit)), 1e-6);
  const auto image = embedding_of(*session_, items[2]), text = embedding_of(*session_, items[1]);
  EXPECT_NEAR(match.cosine, std::inner_product(image.begin(), image.end(), text.begin(), 0.0),
              1e-5);
  EXPECT_EQ(results[1].error().code(), ErrorCode::kInvalidItem);
  EXPECT_EQ(results[2].error().code(), ErrorCode::kInvalidItem);
}

TEST_F(SessionTest, ManyCallersGetTheirOwnAnswers) {
  std::mt19937 random(12);
  std::vector<Item> items(16);
  std::generate(items.begin(), items.end(), [&] { return random_item(random); });
  const auto expected = session_->embed(items, {});
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] {
      for (std::size_t i = caller; i < items.size(); i += 4)
        EXPECT_LT(largest_difference(embedding_of(*session_, items[i]), expected[i].value().values),
                  1e-5f);
    });
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace bifocal::engine
