#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "training/image_ops.h"
#include "training/records.h"
#include "vision/codec.h"

namespace bifocal::training {

// Drawn scenes: a picture of four to seven coloured shapes with, for each kind of sentence, one
// that is true of it and one that is not. Whoever compares one vector of the picture with one of
// the sentence has to know which colour goes with which shape and where: an average must fail.
//
// The sentence alone tells nothing: every sentence is as likely true as false, by the symmetry of
// what is drawn. The picture alone tells nothing: of each kind one sentence is true and one false.

inline constexpr std::int64_t kSceneSide = 224;     // pixels
inline constexpr std::size_t kSceneGrid = 4;        // objects stand in cells, this many a side
inline constexpr double kLeastSceneDistance = 40;   // pixels, between what is compared by place
inline constexpr double kLeastSceneOffCentre = 24;  // pixels, from the middle line

inline constexpr std::array<std::string_view, 6> kSceneColours = {"red",    "green",  "blue",
                                                                  "yellow", "purple", "black"};
inline constexpr std::array<std::string_view, 6> kSceneShapes = {"circle", "square", "triangle",
                                                                 "star",   "cross",  "ring"};
// In the order of Scene::contrasts; "side": of the picture, a step towards left and above.
inline constexpr std::array<std::string_view, 6> kSceneKinds = {"presence", "count", "same colour",
                                                                "side",     "left",  "above"};

// A description that scenes of train and validation never show and their sentences never say: a
// colour with the shape of the same place in its list. Each colour and shape has one, so that by
// symmetry all that is left is seen equally often.
constexpr bool is_held_out_description(std::size_t colour, std::size_t shape) {
  return colour == shape;
}
// Cells that are taken, bit row * kSceneGrid + column, and whether train and validation never have
// this layout: a fifth, with each its mirror images.
bool is_held_out_layout(std::uint32_t cells);

struct SceneObject {
  std::size_t colour = 0, shape = 0;  // of kSceneColours, kSceneShapes
  double x = 0, y = 0;                // of its centre, in pixels from the upper left corner
  double radius = 0;                  // of the circle that it fits in
  Colour pixel = {};                  // what it is drawn in: its colour, somewhat varied
};

struct Scene {
  std::vector<SceneObject> objects;  // none touches another
  std::uint32_t cells = 0;           // that are taken
  Colour background = {};
  std::vector<Contrast> contrasts;  // one of each kind
};

// Train and validation: seen descriptions and layouts. Test: held-out layouts, at least one
// held-out description in each picture, each presence sentence pair and each comparison of places.
enum class SceneSplit { kTrain, kValidation, kTest };
std::string_view name_of(SceneSplit split) noexcept;  // "train", "validation", "test"

// Scene `index` of a split: a function of its arguments, the same on every machine. Thread-safe.
Scene make_scene(SceneSplit split, std::uint64_t seed, std::size_t index);

// kSceneSide x kSceneSide, edges anti-aliased (16 samples a pixel).
vision::Image draw_scene(const Scene& scene);

// `count` scenes with their contrasts, drawn when their image is read; ids "train-000001".
RecordSet scene_records(SceneSplit split, std::uint64_t seed, std::size_t count);

}  // namespace bifocal::training
