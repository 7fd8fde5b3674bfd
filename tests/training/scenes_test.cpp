#include "training/scenes/scene.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <numbers>
#include <set>
#include <sstream>

#include "bifocal/error.h"
#include "temporary_directory.h"
#include "training/record_writer.h"

namespace bifocal::training {
namespace {

constexpr std::uint64_t kSeed = 7;

std::vector<Scene> scenes(SceneSplit split, std::size_t count) {
  std::vector<Scene> made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(make_scene(split, kSeed, i));
  return made;
}

std::vector<std::string> words_of(const std::string& sentence) {
  std::istringstream stream(sentence);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// Reads a sentence as a person does, from the layout alone: it shares nothing with the generator.
struct Reader {
  const Scene& scene;

  static std::size_t place(const auto& names, std::string_view name) {
    for (std::size_t i = 0; i < names.size(); ++i)
      if (names[i] == name) return i;
    ADD_FAILURE() << name << " is not known";
    return 0;
  }
  std::vector<SceneObject> of(std::string_view colour, std::string_view shape) const {
    std::vector<SceneObject> found;
    for (const SceneObject& object : scene.objects)
      if ((colour.empty() || object.colour == place(kSceneColours, colour)) &&
          object.shape == place(kSceneShapes, shape))
        found.push_back(object);
    return found;
  }
  SceneObject only(const std::string& colour, const std::string& shape) const {
    const auto found = of(colour, shape);
    EXPECT_EQ(found.size(), 1U) << "the " << colour << " " << shape << " is not one";
    return found.empty() ? SceneObject{} : found.front();
  }
  bool is_true(const std::string& sentence) const {
    const std::vector<std::string> w = words_of(sentence);
    if (w[0] == "there") {
      static const std::map<std::string, std::size_t> numbers = {
          {"no", 0}, {"one", 1}, {"two", 2}, {"three", 3}};
      if (w[2] == "a") return !of(w[3], w[4]).empty();
      std::string shape = w[3];
      if (w[2] != "one") shape.resize(shape.size() - (shape == "crosses" ? 2 : 1));
      return of("", shape).size() == numbers.at(w[2]);
    }
    if (w.back() == "colour") return only("", w[1]).colour == only("", w[4]).colour;
    const SceneObject first = only(w[1], w[2]);
    if (w.back() == "half") {
      const std::string& side = w[6];
      const double middle = kSceneSide / 2.0;
      return side == "left"    ? first.x < middle
             : side == "right" ? first.x > middle
             : side == "upper" ? first.y < middle
                               : first.y > middle;
    }
    if (w[4] == "left") return first.x < only(w[7], w[8]).x;
    EXPECT_EQ(w[4], "above");
    return first.y < only(w[6], w[7]).y;
  }
};

TEST(Scenes, EachHasATrueAndAFalseSentenceOfEachKind) {
  for (const SceneSplit split : {SceneSplit::kTrain, SceneSplit::kValidation, SceneSplit::kTest})
    for (const Scene& scene : scenes(split, 150)) {
      ASSERT_EQ(scene.contrasts.size(), kSceneKinds.size());
      for (std::size_t k = 0; k < kSceneKinds.size(); ++k) {
        const Contrast& contrast = scene.contrasts[k];
        EXPECT_EQ(contrast.kind, kSceneKinds[k]);
        EXPECT_TRUE(Reader{scene}.is_true(contrast.true_text)) << contrast.true_text;
        EXPECT_FALSE(Reader{scene}.is_true(contrast.false_text)) << contrast.false_text;
      }
    }
}

TEST(Scenes, HaveFourToSevenObjectsThatDoNotTouch) {
  std::set<std::size_t> counts;
  for (const Scene& scene : scenes(SceneSplit::kTrain, 200)) {
    counts.insert(scene.objects.size());
    for (std::size_t i = 0; i < scene.objects.size(); ++i) {
      const SceneObject& a = scene.objects[i];
      EXPECT_GE(std::min(a.x, a.y), a.radius);
      EXPECT_LE(std::max(a.x, a.y), kSceneSide - a.radius);
      for (std::size_t j = 0; j < i; ++j) {
        const SceneObject& b = scene.objects[j];
        EXPECT_GT(std::max(std::abs(a.x - b.x), std::abs(a.y - b.y)), a.radius + b.radius - 1e-9);
      }
    }
  }
  EXPECT_EQ(counts, (std::set<std::size_t>{4, 5, 6, 7}));
}

TEST(Scenes, SentencesAreTrueAsOftenAsFalse) {
  for (const SceneSplit split : {SceneSplit::kTrain, SceneSplit::kTest}) {
    // What is said, without the order in which a comparison says it.
    std::map<std::string, std::pair<double, double>> said;  // times true, times false
    for (const Scene& scene : scenes(split, 3000))
      for (const Contrast& contrast : scene.contrasts) {
        // Sentences of 2520 comparisons are too rare to count: their words are counted, by place.
        if (contrast.kind == "left" || contrast.kind == "above") {
          const auto count = [&](const std::string& sentence, bool is_true) {
            const auto words = words_of(sentence);
            for (std::size_t i = 0; i < words.size(); ++i) {
              auto& times = said[contrast.kind + std::to_string(i) + words[i]];
              (is_true ? times.first : times.second) += 1;
            }
          };
          count(contrast.true_text, true);
          count(contrast.false_text, false);
        } else {
          ++said[contrast.true_text].first;
          ++said[contrast.false_text].second;
        }
      }
    ASSERT_GT(said.size(), 100U);
    double chi_square = 0;
    for (const auto& [what, times] : said) {
      const double all = times.first + times.second;
      const double deviations = (times.first - times.second) / std::sqrt(all);
      EXPECT_LT(std::abs(deviations), 4.5) << what << " " << times.first << " " << times.second;
      chi_square += deviations * deviations;
    }
    // Of mean 1 a sentence where all are fair coins.
    EXPECT_LT(chi_square / static_cast<double>(said.size()), 1.5);
  }
}

TEST(Scenes, HeldOutCombinationsAndLayoutsAreInTestAlone) {
  const auto says_held_out = [](const std::string& sentence) {
    for (std::size_t i = 0; i < kSceneColours.size(); ++i)
      if (sentence.find(std::string(kSceneColours[i]) + " " + std::string(kSceneShapes[i])) !=
          std::string::npos)
        return true;
    return false;
  };
  std::set<std::uint32_t> trained_layouts;
  for (const SceneSplit split : {SceneSplit::kTrain, SceneSplit::kValidation})
    for (const Scene& scene : scenes(split, 500)) {
      trained_layouts.insert(scene.cells);
      for (const SceneObject& object : scene.objects)
        EXPECT_FALSE(is_held_out_description(object.colour, object.shape));
      for (const Contrast& contrast : scene.contrasts) {
        EXPECT_FALSE(says_held_out(contrast.true_text)) << contrast.true_text;
        EXPECT_FALSE(says_held_out(contrast.false_text)) << contrast.false_text;
      }
    }
  for (const Scene& scene : scenes(SceneSplit::kTest, 500)) {
    EXPECT_FALSE(trained_layouts.contains(scene.cells));
    bool shows = false;
    for (const SceneObject& object : scene.objects)
      shows = shows || is_held_out_description(object.colour, object.shape);
    EXPECT_TRUE(shows);
    for (const Contrast& contrast : scene.contrasts)
      if (contrast.kind == "presence" || contrast.kind == "left" || contrast.kind == "above") {
        EXPECT_TRUE(says_held_out(contrast.true_text) || says_held_out(contrast.false_text))
            << contrast.true_text;
      }
  }
}

// Whoever knows the colour of one of the two, or how often each is there, still cannot tell.
TEST(Scenes, WhetherColoursAreTheSameTakesBothOfThem) {
  for (const SceneSplit split : {SceneSplit::kTrain, SceneSplit::kTest})
    for (const Scene& scene : scenes(split, 1000)) {
      const Reader reader{scene};
      const Contrast& contrast = scene.contrasts[2];
      ASSERT_EQ(contrast.kind, "same colour");
      for (const std::string& sentence : {contrast.true_text, contrast.false_text}) {
        const auto words = words_of(sentence);
        const SceneObject one = reader.only("", words[1]), other = reader.only("", words[4]);
        const auto like = [&](const SceneObject& object) {  // whose shape is there once, too
          return std::ranges::count_if(scene.objects, [&](const SceneObject& o) {
            return o.colour == object.colour && reader.of("", kSceneShapes[o.shape]).size() == 1;
          });
        };
        EXPECT_GE(like(one), 2) << sentence;
        EXPECT_EQ(like(one), like(other)) << sentence;
        if (split != SceneSplit::kTrain) continue;
        EXPECT_FALSE(is_held_out_description(one.colour, other.shape)) << sentence;
        EXPECT_FALSE(is_held_out_description(other.colour, one.shape)) << sentence;
      }
    }
}

TEST(Scenes, HowManyObjectsThereAreTellsNothingOfACount) {
  std::map<std::pair<std::string, std::size_t>, std::pair<double, double>> said;
  for (const Scene& scene : scenes(SceneSplit::kTrain, 3000)) {
    const Contrast& contrast = scene.contrasts[1];
    ASSERT_EQ(contrast.kind, "count");
    // Of the two numbers, which are neighbours, the sentence says the lower or the higher.
    const std::string of_true = words_of(contrast.true_text)[2],
                      of_false = words_of(contrast.false_text)[2];
    ++said[{of_true + " or " + of_false, scene.objects.size()}].first;
    ++said[{of_false + " or " + of_true, scene.objects.size()}].second;
  }
  EXPECT_EQ(said.size(), 2U * (4 + 2 + 1));
  for (const auto& [what, times] : said)
    EXPECT_LT(std::abs(times.first - times.second) / std::sqrt(times.first + times.second), 4.5)
        << what.first << ", of " << what.second << " objects";
}

TEST(Scenes, LayoutsAreHeldOutWithTheirMirrorImages) {
  std::size_t held_out = 0;
  for (std::uint32_t cells = 0; cells < 65536; ++cells) {
    std::uint32_t mirrored = 0;
    for (std::size_t i = 0; i < 16; ++i)
      if ((cells >> i & 1) != 0) mirrored |= std::uint32_t{1} << (i / 4 * 4 + 3 - i % 4);
    ASSERT_EQ(is_held_out_layout(cells), is_held_out_layout(mirrored));
    held_out += is_held_out_layout(cells) ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(held_out) / 65536, 0.2, 0.02);
}

TEST(Scenes, AreDrawnWhereAndAsTheyAre) {
  for (const Scene& scene : scenes(SceneSplit::kTrain, 20)) {
    const vision::Image image = draw_scene(scene);
    ASSERT_EQ(image.pixels.size(), std::size_t{3} * kSceneSide * kSceneSide);
    const auto pixel = [&image](double x, double y) {
      const std::size_t at =
          3 * (static_cast<std::size_t>(y) * kSceneSide + static_cast<std::size_t>(x));
      return Colour{image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]};
    };
    EXPECT_EQ(pixel(0, 0), scene.background);
    for (const SceneObject& object : scene.objects) {
      const bool is_ring = kSceneShapes[object.shape] == "ring";
      EXPECT_EQ(pixel(object.x, object.y), is_ring ? scene.background : object.pixel);
      EXPECT_EQ(pixel(object.x, object.y - 0.75 * object.radius * (is_ring ? 1 : 0)), object.pixel);
    }
  }
  EXPECT_EQ(draw_scene(make_scene(SceneSplit::kTest, 1, 5)).pixels,
            draw_scene(make_scene(SceneSplit::kTest, 1, 5)).pixels);
  EXPECT_NE(draw_scene(make_scene(SceneSplit::kTest, 1, 5)).pixels,
            draw_scene(make_scene(SceneSplit::kTest, 2, 5)).pixels);
}

// The area of each shape on a circle of radius r, worked out by hand.
TEST(Scenes, ShapesHaveTheirAreas) {
  const double r = 40;
  const double inner = 0.42, fifth = std::numbers::pi / 5;
  const std::map<std::string_view, double> areas = {
      {"circle", std::numbers::pi * 0.81}, {"square", 2.25},
      {"triangle", 0.75 * std::sqrt(3)},   {"star", 5 * inner * std::sin(fifth)},
      {"cross", 4 * 0.95 * 0.6 - 0.36},    {"ring", std::numbers::pi * (0.9025 - 0.25)}};
  for (std::size_t shape = 0; shape < kSceneShapes.size(); ++shape) {
    Scene scene;
    scene.background = {255, 255, 255};
    scene.objects.push_back({0, shape, 100.3, 90.7, r, {0, 0, 0}});
    double covered = 0;
    const vision::Image image = draw_scene(scene);
    for (std::size_t i = 0; i < image.pixels.size(); i += 3) covered += 1 - image.pixels[i] / 255.0;
    EXPECT_NEAR(covered / (r * r), areas.at(kSceneShapes[shape]), 0.01) << kSceneShapes[shape];
  }
}

TEST(Scenes, AreReadBackFromDisk) {
  const testing::TemporaryDirectory directory;
  const RecordSet made = scene_records(SceneSplit::kTest, 3, 5);
  write_records(made, directory / "scenes/test.jsonl", /*with_images=*/true);
  const RecordSet read = RecordSet::open(directory / "scenes");
  ASSERT_EQ(read.size(), 5U);
  EXPECT_TRUE(read.skipped().empty());
  for (std::size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].id, made[i].id);
    EXPECT_EQ(read[i].split, "test");
    EXPECT_EQ(read.read_image(i), made.read_image(i));
    ASSERT_EQ(read[i].contrasts.size(), kSceneKinds.size());
    for (std::size_t k = 0; k < kSceneKinds.size(); ++k) {
      EXPECT_EQ(read[i].contrasts[k].kind, made[i].contrasts[k].kind);
      EXPECT_EQ(read[i].contrasts[k].true_text, made[i].contrasts[k].true_text);
      EXPECT_EQ(read[i].contrasts[k].false_text, made[i].contrasts[k].false_text);
    }
    EXPECT_EQ(vision::decode(read.read_image(i)).pixels,
              draw_scene(make_scene(SceneSplit::kTest, 3, i)).pixels);
  }
}

TEST(Scenes, ThatCannotBeWrittenAreAnError) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "file") << "in the way";
  const auto write = [&] {
    write_records(scene_records(SceneSplit::kTrain, 1, 1), directory / "file" / "train.jsonl",
                  true);
  };
  try {
    write();
    FAIL() << "should have thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
  }
}

}  // namespace
}  // namespace bifocal::training
