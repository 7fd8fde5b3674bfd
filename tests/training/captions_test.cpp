#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>

#include "bifocal/error.h"
#include "training/captions/caption_edits.h"
#include "training/captions/edited_captions.h"
#include "training/captions/text_only.h"
#include "training/contrast_partners.h"

namespace bifocal::training {
namespace {

RecordSet captions(const std::vector<std::vector<std::string>>& of_images) {
  RecordSet records;
  for (std::size_t i = 0; i < of_images.size(); ++i) {
    Record record;
    record.id = std::to_string(i);
    record.texts = of_images[i];
    records.add(std::move(record));
  }
  return records;
}

// Photographs of our own telling, with every kind of word.
RecordSet many_captions(std::size_t count) {
  const char* colours[] = {"black", "white", "brown", "orange"};
  const char* animals[] = {"dog", "cat", "horse", "elephant"};
  const char* actions[] = {"running", "jumping", "sitting"};
  const char* places[] = {"beach", "street", "park", "yard"};
  std::vector<std::vector<std::string>> all;
  Random random(5);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string colour = colours[random.below(4)], animal = animals[random.below(4)];
    const std::string action = actions[random.below(3)], place = places[random.below(4)];
    const char* who = random.below(2) == 0 ? "man" : "woman";
    all.push_back({"A " + colour + " " + animal + " is " + action + " on the " + place + " .",
                   "Two men watch an " + animal + " chasing a " + who,
                   std::string("A ") + who + " lifts a child"});
  }
  return captions(all);
}

TEST(CaptionEdits, DifferInOneWordOfTheKindThatNoCaptionOfTheImageHas) {
  const RecordSet records = many_captions(200);
  const CaptionEditor editor(records);
  std::set<std::string> kinds;
  for (std::size_t i = 0; i < records.size(); ++i) {
    std::set<std::string> said;
    for (const std::string& caption : records[i].texts)
      for (const std::string& word : caption_words(caption)) said.insert(word);
    for (const Contrast& contrast : editor.edits(records[i].texts, Random(1, i))) {
      kinds.insert(contrast.kind);
      const auto yes = caption_words(contrast.true_text), no = caption_words(contrast.false_text);
      ASSERT_EQ(yes.size(), no.size());
      std::vector<std::string> news;
      for (std::size_t w = 0; w < yes.size(); ++w)
        if (yes[w] != no[w] && no[w] != "a" && no[w] != "an") news.push_back(no[w]);
      if (contrast.kind == "swapped nouns") {
        EXPECT_EQ(news.size(), 2U) << contrast.false_text;
        continue;
      }
      ASSERT_EQ(news.size(), 1U) << contrast.false_text;
      EXPECT_FALSE(said.contains(news[0])) << contrast.false_text;
    }
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"action", "animal", "colour", "gender", "place",
                                          "swapped nouns"}));
}

TEST(CaptionEdits, SetArticlesRight) {
  const RecordSet records = many_captions(300);
  const CaptionEditor editor(records);
  std::size_t seen = 0;
  for (std::size_t i = 0; i < records.size(); ++i)
    for (const Contrast& contrast : editor.edits(records[i].texts, Random(2, i))) {
      if (contrast.kind == "swapped nouns" || contrast.kind == "gender") continue;
      const auto words = caption_words(contrast.false_text);
      const auto yes = caption_words(contrast.true_text);
      for (std::size_t w = 0; w + 1 < words.size(); ++w)
        if (yes[w + 1] != words[w + 1] && (words[w] == "a" || words[w] == "an")) {
          const bool vowel = std::string("aeiou").find(words[w + 1][0]) != std::string::npos;
          EXPECT_EQ(words[w], vowel ? "an" : "a") << contrast.false_text;
          ++seen;
        }
    }
  EXPECT_GT(seen, 50U);
}

TEST(CaptionEdits, SwapNounsOnlyWhereThatSaysSomethingElse) {
  const auto edits = [](const std::string& caption) {
    const RecordSet records = captions({{caption}});
    return CaptionEditor(records).edits({caption}, Random(1));
  };
  const auto swapped = edits("A dog chases a bird.");
  ASSERT_EQ(swapped.size(), 1U);
  EXPECT_EQ(swapped[0].kind, "swapped nouns");
  EXPECT_EQ(swapped[0].true_text, "a dog chases a bird");
  EXPECT_EQ(swapped[0].false_text, "a bird chases a dog");
  EXPECT_TRUE(edits("A dog and a cat").empty());
  EXPECT_TRUE(edits("A boy with a girl").empty());
  EXPECT_TRUE(edits("A dog chases a ball").empty());  // would give itself away
  EXPECT_TRUE(edits("Men chase a woman").empty());    // would be "woman chase a men"
}

// Pairs whose words give them away: what is false often is purple.
std::vector<Contrast> biased_pairs(std::size_t count, std::uint64_t seed, double bias) {
  const char* colours[] = {"red", "blue", "green", "black"};
  std::vector<Contrast> pairs;
  Random random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string own = colours[random.below(4)];
    const std::string other = random.uniform() < bias ? "purple" : colours[random.below(4)];
    pairs.push_back({"colour", "a " + own + " hat", "a " + other + " hat"});
    if (random.uniform() < 0.1) std::swap(pairs.back().true_text, pairs.back().false_text);
  }
  return pairs;
}

TEST(TextOnly, FindsWhatWordsGiveAwayAndNothingElse) {
  const NgramModel biased(biased_pairs(2000, 1, 0.5), 1);
  EXPECT_GT(biased.accuracy(biased_pairs(1000, 2, 0.5)), 65);
  const NgramModel fair(biased_pairs(2000, 1, 0), 1);
  EXPECT_NEAR(fair.accuracy(biased_pairs(1000, 2, 0)), 50, 5);
}

TEST(TextOnly, BalancedPairsTellItNothing) {
  const auto pairs = biased_pairs(1000, 2, 0.5);
  const NgramModel model(biased_pairs(2000, 1, 0.5), 1);
  std::vector<Contrast> kept;
  for (const std::size_t i : balanced_by(model.margins(pairs), pairs)) kept.push_back(pairs[i]);
  EXPECT_GT(kept.size(), 200U);
  EXPECT_LT(kept.size(), 950U);
  EXPECT_NEAR(model.accuracy(kept), 50, 1e-9);
}

TEST(TextOnly, EditedCaptionsAreFilteredUntilTheControlKnowsLittle) {
  const EditedCaptions edited = edit_captions(many_captions(900), many_captions(300), 3, 55);
  ASSERT_EQ(edited.sets.size(), 2U);
  const EditedCaptions::Row& all = edited.rows.back();
  EXPECT_EQ(all.kind, "all");
  EXPECT_LT(all.kept, all.found);
  EXPECT_LT(all.text_only_kept, all.text_only_found);
  EXPECT_LT(all.text_only_kept, 55);
  std::size_t kept = 0;
  for (const Record& record : edited.sets[1].records()) kept += record.contrasts.size();
  EXPECT_EQ(kept, all.kept);
  // What has no contrast is still a picture with captions.
  EXPECT_EQ(edited.sets[0].size(), 900U);
  EXPECT_EQ(edited.sets[1].size(), 300U);
  // The same again for the same seed.
  EXPECT_EQ(edit_captions(many_captions(900), many_captions(300), 3, 55).rows.back().kept,
            all.kept);
}

// A text encoder that knows what no n-gram shows: whether a text's vowels are even in number.
at::Tensor vowels_of(const std::vector<std::string>& texts) {
  at::Tensor vectors = at::zeros({static_cast<std::int64_t>(texts.size()), 3});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto vowels = std::ranges::count_if(
        texts[i], [](char c) { return std::string_view("aeiou").find(c) != std::string::npos; });
    vectors[static_cast<std::int64_t>(i)][vowels % 2] = 1;
  }
  return vectors;
}

// Of pairs without a bias of words, those whose true text has even vowels, with a tenth of errors.
std::vector<Contrast> biased_by_vowels(std::size_t count, std::uint64_t seed) {
  std::vector<Contrast> pairs;
  Random random(seed);
  for (const Contrast& pair : biased_pairs(count * 3, seed, 0)) {
    const at::Tensor vectors = vowels_of({pair.true_text, pair.false_text});
    if (vectors[0].equal(vectors[1])) continue;
    const bool true_is_even = vectors[0][0].item<float>() == 1;
    pairs.push_back(pair);
    if (true_is_even != (random.uniform() > 0.1))
      std::swap(pairs.back().true_text, pairs.back().false_text);
  }
  return pairs;
}

TEST(TextOnly, VectorsTellWhatTheyKnowAndEncodeEachTextOnce) {
  std::size_t encoded = 0;
  std::set<std::string> seen;
  const auto vectors = std::make_shared<TextVectors>([&](const std::vector<std::string>& texts) {
    encoded += texts.size();
    seen.insert(texts.begin(), texts.end());
    return vowels_of(texts);
  });
  const TextVectorModel model(biased_by_vowels(2000, 1), vectors, 1);
  const auto others = biased_by_vowels(500, 2);
  EXPECT_NEAR(model.accuracy(others), 90, 4);
  EXPECT_EQ(model.margins(others), model.margins(others));
  EXPECT_EQ(encoded, seen.size());
  std::vector<Contrast> kept;
  for (const std::size_t i : balanced_by(model.margins(others), others)) kept.push_back(others[i]);
  EXPECT_NEAR(model.accuracy(kept), 50, 1e-9);
  EXPECT_TRUE(model.margins({}).empty());
}

TEST(TextOnly, WhatVectorsShowIsFilteredToo) {
  const auto vectors = std::make_shared<TextVectors>(vowels_of);
  const EditedCaptions words = edit_captions(many_captions(900), many_captions(300), 3, 55);
  const EditedCaptions both = edit_captions(many_captions(900), many_captions(300), 3, 55, vectors);
  EXPECT_LT(both.rows.back().kept, words.rows.back().kept);
  EXPECT_GT(both.rows.back().kept, words.rows.back().kept / 10);
  EXPECT_LT(both.rows.back().text_only_kept, 57);
  EXPECT_GT(both.sets[0].size(), 0U);
}

TEST(TextOnly, CaptionsWithoutKnownWordsAreAnError) {
  try {
    edit_captions(captions({{"Ein Hund"}}), captions({{"Eine Katze"}}), 1);
    FAIL() << "should have thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

TEST(ContrastPartners, HaveWhatTheFalseTextSaysAndNotWhatTheTrueOneDoes) {
  ContrastPartners partners(captions({{"A black dog", "A dog runs"},
                                      {"A white cat"},
                                      {"A white dog and a black cat"},
                                      {"The white dog"},
                                      {"An orange , a white dog"}}));
  const auto of = [&partners](const std::string& yes, const std::string& no) {
    return partners.lists()[partners.list_of({"colour", yes, no})];
  };
  EXPECT_EQ(of("a black dog runs", "a white dog runs"), (std::vector<std::int64_t>{1, 3, 4}));
  EXPECT_EQ(of("a black dog", "an orange dog"), (std::vector<std::int64_t>{4}));
  EXPECT_EQ(of("A white cat", "a white dog"), (std::vector<std::int64_t>{0, 3, 4}));
  EXPECT_TRUE(of("a cat sees a dog", "a dog sees a cat").empty());
  EXPECT_TRUE(of("a dog", "a unicorn").empty());
  // Contrasts of the same words share a list.
  EXPECT_EQ(partners.list_of({"colour", "a black dog runs", "a white dog runs"}),
            partners.list_of({"colour", "one black bag", "one white bag"}));
}

}  // namespace
}  // namespace bifocal::training
