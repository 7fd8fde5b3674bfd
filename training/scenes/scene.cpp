#include "training/scenes/scene.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "training/random.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kColours = kSceneColours.size();
constexpr std::size_t kShapes = kSceneShapes.size();
constexpr std::size_t kCells = kSceneGrid * kSceneGrid;
constexpr std::size_t kFewest = 4, kMost = 7;  // objects
constexpr std::size_t kMostCounted = 3;        // of one shape
constexpr std::array<std::string_view, kMostCounted + 1> kNumbers = {"no", "one", "two", "three"};
constexpr std::array<Colour, kColours> kPixels = {
    {{214, 44, 44}, {44, 156, 66}, {48, 88, 214}, {236, 200, 40}, {148, 56, 178}, {30, 30, 30}}};
constexpr int kPixelVariation = 16;
constexpr double kCellSide = static_cast<double>(kSceneSide) / kSceneGrid;

std::string words(const SceneObject& object) {
  return std::string(kSceneColours[object.colour]) + " " + std::string(kSceneShapes[object.shape]);
}
bool is_held_out(const SceneObject& object) {
  return is_held_out_description(object.colour, object.shape);
}

// What is decided before a scene is looked for. Were it chosen by what a scene happens to have, the
// commoner answer would be known from the sentence.
struct Plan {
  bool is_test = false;
  std::size_t count = 4;          // of objects
  std::size_t counted_shape = 0;  // the count sentences are of this shape,
  std::size_t counted = 1;        // of which there are so many,
  std::size_t miscounted = 2;     // and not so many
  bool true_is_held_out = false;  // test: of the presence sentences the true or the false one
  bool swaps_colour = false;      // the false description has another colour, else another shape
  bool is_vertical = false;       // the side sentences say upper or lower, else left or right
};

Plan draw_plan(bool is_test, Random& random) {
  Plan plan;
  plan.is_test = is_test;
  plan.counted_shape = random.below(kShapes);
  const std::size_t low = random.below(kMostCounted);
  plan.counted = low + random.below(2);
  plan.miscounted = 2 * low + 1 - plan.counted;
  // Two of one colour and two of another are needed whose shapes are there once, beside as many of
  // the counted one as either sentence says: how many objects there are tells nothing of them.
  const std::size_t fewest = low == 0 ? kFewest : low + 1 + kFewest;
  plan.count = fewest + random.below(kMost - fewest + 1);
  plan.true_is_held_out = random.below(2) == 0;
  plan.swaps_colour = random.below(2) == 0;
  plan.is_vertical = random.below(2) == 0;
  return plan;
}

std::uint32_t draw_cells(std::size_t count, Random& random, std::vector<std::size_t>& order) {
  order.resize(kCells);
  std::iota(order.begin(), order.end(), std::size_t{0});
  random.shuffle(order);
  order.resize(count);
  std::uint32_t cells = 0;
  for (const std::size_t cell : order) cells |= std::uint32_t{1} << cell;
  return cells;
}

Colour varied(const Colour& colour, Random& random) {
  Colour result;
  for (std::size_t c = 0; c < result.size(); ++c)
    result[c] = static_cast<std::uint8_t>(std::clamp<int>(
        colour[c] + static_cast<int>(random.below(2 * kPixelVariation + 1)) - kPixelVariation, 0,
        255));
  return result;
}

// Objects in the cells of a layout, `plan.counted` of them of the shape that is counted.
Scene draw_objects(const Plan& plan, Random& random) {
  Scene scene;
  std::vector<std::size_t> cells;
  do {
    scene.cells = draw_cells(plan.count, random, cells);
  } while (is_held_out_layout(scene.cells) != plan.is_test);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    SceneObject object;
    do {
      object.colour = random.below(kColours);
      object.shape = i < plan.counted ? plan.counted_shape : random.below(kShapes);
    } while ((i >= plan.counted && object.shape == plan.counted_shape) ||
             (!plan.is_test && is_held_out(object)));
    object.radius = random.uniform(17, 24);
    const double room = kCellSide / 2 - object.radius - 1;
    const auto place = [&](std::size_t cell) {
      return (static_cast<double>(cell) + 0.5) * kCellSide + random.uniform(-room, room);
    };
    object.x = place(cells[i] % kSceneGrid);
    object.y = place(cells[i] / kSceneGrid);
    object.pixel = varied(kPixels[object.colour], random);
    scene.objects.push_back(object);
  }
  const auto grey = static_cast<std::uint8_t>(200 + random.below(56));
  scene.background = varied({grey, grey, grey}, random);
  return scene;
}

std::size_t number_of(const Scene& scene, auto&& holds) {
  return static_cast<std::size_t>(std::ranges::count_if(scene.objects, holds));
}
bool is_there(const Scene& scene, std::size_t colour, std::size_t shape) {
  return number_of(scene, [&](const SceneObject& object) {
           return object.colour == colour && object.shape == shape;
         }) > 0;
}

// One of what there is; nothing where there is nothing.
template <typename T>
std::optional<T> one_of(const std::vector<T>& choices, Random& random) {
  if (choices.empty()) return std::nullopt;
  return choices[random.below(choices.size())];
}

// "there is a red circle": the false one has another object's colour, or its shape.
std::optional<Contrast> presence(const Scene& scene, const Plan& plan, Random& random) {
  std::vector<Contrast> choices;
  for (const SceneObject& object : scene.objects)
    for (const SceneObject& other : scene.objects) {
      SceneObject absent = object;
      (plan.swaps_colour ? absent.colour : absent.shape) =
          plan.swaps_colour ? other.colour : other.shape;
      if (is_there(scene, absent.colour, absent.shape)) continue;
      if (plan.is_test && (is_held_out(object) != plan.true_is_held_out ||
                           is_held_out(absent) == plan.true_is_held_out))
        continue;
      if (!plan.is_test && is_held_out(absent)) continue;
      choices.push_back({"presence", "there is a " + words(object), "there is a " + words(absent)});
    }
  return one_of(choices, random);
}

std::optional<Contrast> count(const Plan& plan) {
  const auto sentence = [&plan](std::size_t number) {
    return (number == 1 ? "there is " : "there are ") + std::string(kNumbers[number]) + " " +
           std::string(kSceneShapes[plan.counted_shape]) + (number == 1 ? "" : "s");
  };
  // Not crosss.
  const auto plural = [](std::string text) {
    if (text.ends_with("crosss")) text.replace(text.size() - 1, 1, "es");
    return text;
  };
  return Contrast{"count", plural(sentence(plan.counted)), plural(sentence(plan.miscounted))};
}

// "the circle and the square have the same colour", of shapes that are there once. Of the colour of
// what is not like the first there are as many such shapes, two at least: else how often a colour
// is there, or that only a shape which is there twice has it too, would tell. In training the false
// one is possible: were a colour held out of a shape, that alone would tell.
std::optional<Contrast> same_colour(const Scene& scene, const Plan& plan, Random& random) {
  std::vector<SceneObject> single;
  for (const SceneObject& object : scene.objects)
    if (number_of(scene, [&](const SceneObject& o) { return o.shape == object.shape; }) == 1)
      single.push_back(object);
  const auto of_colour = [&single](std::size_t colour) {
    return std::ranges::count(single, colour, &SceneObject::colour);
  };
  const auto sentence = [](const SceneObject& a, const SceneObject& b) {
    return "the " + std::string(kSceneShapes[a.shape]) + " and the " +
           std::string(kSceneShapes[b.shape]) + " have the same colour";
  };
  std::vector<Contrast> choices;
  for (const SceneObject& a : single)
    for (const SceneObject& b : single)
      for (const SceneObject& c : single) {
        if (a.shape == b.shape || a.colour != b.colour || a.colour == c.colour) continue;
        if (of_colour(a.colour) != of_colour(c.colour)) continue;
        if (!plan.is_test && (is_held_out_description(a.colour, c.shape) ||
                              is_held_out_description(c.colour, a.shape)))
          continue;
        choices.push_back({"same colour", sentence(a, b), sentence(a, c)});
        choices.push_back({"same colour", sentence(b, a), sentence(c, a)});
      }
  return one_of(choices, random);
}

// Objects that their description alone tells from all others.
std::vector<SceneObject> unique_objects(const Scene& scene) {
  std::vector<SceneObject> unique;
  for (const SceneObject& object : scene.objects)
    if (number_of(scene, [&](const SceneObject& o) {
          return o.colour == object.colour && o.shape == object.shape;
        }) == 1)
      unique.push_back(object);
  return unique;
}

// "the red circle is in the left half".
std::optional<Contrast> side(const Scene& scene, const Plan& plan, Random& random) {
  const std::array<std::string_view, 2> sides =
      plan.is_vertical ? std::array<std::string_view, 2>{"upper", "lower"}
                       : std::array<std::string_view, 2>{"left", "right"};
  std::vector<Contrast> choices;
  for (const SceneObject& object : unique_objects(scene)) {
    const double from_centre = (plan.is_vertical ? object.y : object.x) - kSceneSide / 2.0;
    if (std::abs(from_centre) < kLeastSceneOffCentre) continue;
    const std::size_t own = from_centre > 0 ? 1 : 0;
    const auto sentence = [&](std::size_t half) {
      return "the " + words(object) + " is in the " + std::string(sides[half]) + " half";
    };
    choices.push_back({"side", sentence(own), sentence(1 - own)});
  }
  return one_of(choices, random);
}

// "the red circle is left of the blue square", false the other way round.
std::optional<Contrast> comparison(const Scene& scene, const Plan& plan, bool is_vertical,
                                   Random& random) {
  const std::vector<SceneObject> unique = unique_objects(scene);
  const std::string relation = is_vertical ? " is above the " : " is left of the ";
  std::vector<Contrast> choices;
  for (const SceneObject& a : unique)
    for (const SceneObject& b : unique) {
      if (plan.is_test && !is_held_out(a) && !is_held_out(b)) continue;
      const double distance = is_vertical ? b.y - a.y : b.x - a.x;
      if (distance < kLeastSceneDistance) continue;
      choices.push_back({is_vertical ? "above" : "left", "the " + words(a) + relation + words(b),
                         "the " + words(b) + relation + words(a)});
    }
  return one_of(choices, random);
}

// All kinds of sentence; none where the scene lacks what one of them needs.
std::vector<Contrast> sentences(const Scene& scene, const Plan& plan, Random& random) {
  std::vector<Contrast> contrasts;
  for (const std::optional<Contrast>& contrast :
       {presence(scene, plan, random), count(plan), same_colour(scene, plan, random),
        side(scene, plan, random), comparison(scene, plan, false, random),
        comparison(scene, plan, true, random)}) {
    if (!contrast) return {};
    contrasts.push_back(*contrast);
  }
  return contrasts;
}

}  // namespace

std::string_view name_of(SceneSplit split) noexcept {
  switch (split) {
    case SceneSplit::kTrain:
      return "train";
    case SceneSplit::kValidation:
      return "validation";
    case SceneSplit::kTest:
      return "test";
  }
  return "";
}

bool is_held_out_layout(std::uint32_t cells) {
  const auto mirrored = [](std::uint32_t from, bool columns, bool rows) {
    std::uint32_t to = 0;
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      if ((from >> cell & 1) == 0) continue;
      std::size_t row = cell / kSceneGrid, column = cell % kSceneGrid;
      if (columns) column = kSceneGrid - 1 - column;
      if (rows) row = kSceneGrid - 1 - row;
      to |= std::uint32_t{1} << (row * kSceneGrid + column);
    }
    return to;
  };
  // With its mirror images: else left and above would differ in how often they are seen.
  const std::uint32_t canonical =
      std::min({cells, mirrored(cells, true, false), mirrored(cells, false, true),
                mirrored(cells, true, true)});
  return Random(canonical).below(5) == 0;
}

Scene make_scene(SceneSplit split, std::uint64_t seed, std::size_t index) {
  Random random(seed, (static_cast<std::uint64_t>(split) << 48) + index);
  const Plan plan = draw_plan(split == SceneSplit::kTest, random);
  for (;;) {
    Scene scene = draw_objects(plan, random);
    scene.contrasts = sentences(scene, plan, random);
    if (!scene.contrasts.empty()) return scene;
  }
}

}  // namespace bifocal::training
