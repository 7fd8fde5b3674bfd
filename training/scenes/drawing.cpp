#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "training/scenes/scene.h"

namespace bifocal::training {
namespace {

constexpr int kSamplesASide = 4;  // of a pixel

using Inside = bool (*)(double x, double y);  // of a shape in the circle of radius 1, y downwards

bool in_circle(double x, double y) { return x * x + y * y <= 0.9 * 0.9; }
bool in_ring(double x, double y) {
  const double square = x * x + y * y;
  return square <= 0.95 * 0.95 && square >= 0.5 * 0.5;
}
bool in_square(double x, double y) { return std::max(std::abs(x), std::abs(y)) <= 0.75; }
bool in_cross(double x, double y) {
  const double across = std::abs(x), down = std::abs(y);
  return std::max(across, down) <= 0.95 && std::min(across, down) <= 0.3;
}
bool in_triangle(double x, double y) {
  // Equilateral, a corner on top.
  return y <= 0.5 && std::abs(x) <= (y + 1) / std::numbers::sqrt3;
}
// A five-pointed star: within one of its ten edges, folded onto one half of one point.
bool in_star(double x, double y) {
  constexpr double kPoint = 2 * std::numbers::pi / 5;
  constexpr double kInner = 0.42;  // where edges meet between points
  const double radius = std::hypot(x, y);
  const double angle = std::abs(std::remainder(std::atan2(x, -y), kPoint));
  const double px = radius * std::cos(angle), py = radius * std::sin(angle);
  const double ix = kInner * std::cos(kPoint / 2), iy = kInner * std::sin(kPoint / 2);
  // Left of the edge from the point (1, 0) to (ix, iy).
  return (ix - 1) * py - iy * (px - 1) >= 0;
}

constexpr std::array<Inside, kSceneShapes.size()> kInside = {in_circle, in_square, in_triangle,
                                                             in_star,   in_cross,  in_ring};

// The share of the pixel at (column, row) that the object covers.
double coverage(const SceneObject& object, std::int64_t column, std::int64_t row) {
  int hits = 0;
  for (int i = 0; i < kSamplesASide; ++i)
    for (int j = 0; j < kSamplesASide; ++j) {
      const double x = static_cast<double>(column) + (i + 0.5) / kSamplesASide;
      const double y = static_cast<double>(row) + (j + 0.5) / kSamplesASide;
      if (kInside[object.shape]((x - object.x) / object.radius, (y - object.y) / object.radius))
        ++hits;
    }
  return static_cast<double>(hits) / (kSamplesASide * kSamplesASide);
}

void draw(const SceneObject& object, vision::Image& image) {
  const auto from = [&](double centre) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(centre - object.radius), 0);
  };
  const auto to = [&](double centre, std::int64_t size) {
    return std::min<std::int64_t>(static_cast<std::int64_t>(centre + object.radius) + 1, size);
  };
  for (std::int64_t row = from(object.y); row < to(object.y, image.height); ++row)
    for (std::int64_t column = from(object.x); column < to(object.x, image.width); ++column) {
      const double share = coverage(object, column, row);
      std::uint8_t* pixel = image.pixels.data() + 3 * (row * image.width + column);
      for (std::size_t c = 0; c < 3; ++c)
        pixel[c] = static_cast<std::uint8_t>(
            std::lround((1 - share) * pixel[c] + share * object.pixel[c]));
    }
}

}  // namespace

vision::Image draw_scene(const Scene& scene) {
  vision::Image image{kSceneSide, kSceneSide, {}};
  image.pixels.resize(std::size_t{3} * kSceneSide * kSceneSide);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = scene.background[i % 3];
  for (const SceneObject& object : scene.objects) draw(object, image);
  return image;
}

}  // namespace bifocal::training
