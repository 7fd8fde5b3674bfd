#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "training/image_ops.h"

namespace bifocal::training {
namespace {

using vision::Image;
using Matrix = std::array<double, 6>;

Image filled(std::int64_t width, std::int64_t height, const Colour& fill) {
  Image image{width, height,
              std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height))};
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    std::copy(fill.begin(), fill.end(), image.pixels.begin() + static_cast<std::ptrdiff_t>(i));
  return image;
}

const std::uint8_t* row_of(const Image& image, std::int64_t y) {
  return image.pixels.data() + 3 * image.width * y;
}

bool inside(const Image& image, std::int64_t x, std::int64_t y) {
  return x >= 0 && x < image.width && y >= 0 && y < image.height;
}

// `pixel_of` takes a coordinate, which is stepped by addition, to a whole pixel.
template <typename Coordinate, typename PixelOf>
void step_nearest(const Image& image, const std::array<Coordinate, 6>& m, Image& out,
                  PixelOf&& pixel_of) {
  Coordinate start_x = m[2], start_y = m[5];
  for (std::int64_t y = 0; y < out.height; ++y, start_x += m[1], start_y += m[4]) {
    std::uint8_t* to = out.pixels.data() + 3 * out.width * y;
    Coordinate from_x = start_x, from_y = start_y;
    for (std::int64_t x = 0; x < out.width; ++x, to += 3, from_x += m[0], from_y += m[3])
      if (const std::int64_t column = pixel_of(from_x), row = pixel_of(from_y);
          inside(image, column, row))
        std::copy_n(row_of(image, row) + 3 * column, 3, to);
  }
}

// Pillow steps in 16.16 fixed point, but in double where the axes stay apart.
void sample_nearest(const Image& image, const Matrix& m, Image& out) {
  const double start_x = m[2] + m[0] * 0.5 + m[1] * 0.5;
  const double start_y = m[5] + m[3] * 0.5 + m[4] * 0.5;
  if (m[1] == 0 && m[3] == 0) {
    step_nearest<double>(image, {m[0], m[1], start_x, m[3], m[4], start_y}, out,
                         [](double v) { return static_cast<std::int64_t>(std::floor(v)); });
    return;
  }
  const auto fixed = [](double value) {
    return static_cast<std::int64_t>(std::floor(value * 65536.0 + 0.5));
  };
  step_nearest<std::int64_t>(
      image, {fixed(m[0]), fixed(m[1]), fixed(start_x), fixed(m[3]), fixed(m[4]), fixed(start_y)},
      out, [](std::int64_t v) { return v >> 16; });
}

// Neighbours beyond the edge count as the edge, and rows as the last row that there was.
template <std::size_t Taps, typename Blend>
void sample_filtered(const Image& image, const Matrix& m, Image& out, Blend&& blend) {
  constexpr auto kBefore = static_cast<std::int64_t>(Taps) / 2 - 1;
  std::uint8_t* to = out.pixels.data();
  for (std::int64_t y = 0; y < out.height; ++y) {
    for (std::int64_t x = 0; x < out.width; ++x, to += 3) {
      const double centre_x = static_cast<double>(x) + 0.5, centre_y = static_cast<double>(y) + 0.5;
      double from_x = m[0] * centre_x + m[1] * centre_y + m[2];
      double from_y = m[3] * centre_x + m[4] * centre_y + m[5];
      if (from_x < 0 || from_x >= static_cast<double>(image.width) || from_y < 0 ||
          from_y >= static_cast<double>(image.height))
        continue;
      from_x -= 0.5;
      from_y -= 0.5;
      const double left = std::floor(from_x), top = std::floor(from_y);
      std::array<std::int64_t, Taps> columns;
      std::array<const std::uint8_t*, Taps> rows;
      for (std::size_t i = 0; i < Taps; ++i) {
        const std::int64_t offset = static_cast<std::int64_t>(i) - kBefore;
        columns[i] = 3 * std::clamp<std::int64_t>(static_cast<std::int64_t>(left) + offset, 0,
                                                  image.width - 1);
        rows[i] = row_of(image, std::clamp<std::int64_t>(static_cast<std::int64_t>(top) + offset, 0,
                                                         image.height - 1));
      }
      for (std::size_t c = 0; c < 3; ++c) {
        std::array<double, Taps> lines;
        for (std::size_t i = 0; i < Taps; ++i) {
          std::array<double, Taps> line;
          for (std::size_t j = 0; j < Taps; ++j)
            line[j] = rows[i][columns[j] + static_cast<std::int64_t>(c)];
          lines[i] = blend(line, from_x - left);
        }
        to[c] = static_cast<std::uint8_t>(std::clamp(blend(lines, from_y - top), 0.0, 255.0));
      }
    }
  }
}

double linear(const std::array<double, 2>& v, double d) { return v[0] + (v[1] - v[0]) * d; }

// Keys with a = -1, which Pillow's transforms use where its resize has -0.5.
double cubic(const std::array<double, 4>& v, double d) {
  const double p2 = -v[0] + v[2];
  const double p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
  const double p4 = -v[0] + v[1] - v[2] + v[3];
  return v[1] + d * (p2 + d * (p3 + d * p4));
}

// Half a turn by copying, as Pillow does whatever the filter.
Image turned_upside_down(const Image& image) {
  Image out = image;
  std::reverse(out.pixels.begin(), out.pixels.end());
  for (std::size_t i = 0; i < out.pixels.size(); i += 3)
    std::swap(out.pixels[i], out.pixels[i + 2]);
  return out;
}

Image quarter_turned(const Image& image, bool counter_clockwise) {
  Image out = image;
  const std::int64_t side = image.width;
  for (std::int64_t y = 0; y < side; ++y)
    for (std::int64_t x = 0; x < side; ++x) {
      const std::int64_t to_x = counter_clockwise ? y : side - 1 - y;
      const std::int64_t to_y = counter_clockwise ? side - 1 - x : x;
      std::copy_n(row_of(image, y) + 3 * x, 3, out.pixels.data() + 3 * (side * to_y + to_x));
    }
  return out;
}

// Python's round(value, 15): what rotate() rounds its sines to.
double rounded(double value) { return std::nearbyint(value * 1e15) / 1e15; }

}  // namespace

Image affine(const Image& image, const Matrix& matrix, vision::Interpolation interpolation,
             const Colour& fill) {
  Image out = filled(image.width, image.height, fill);
  if (interpolation == vision::Interpolation::kNearest)
    sample_nearest(image, matrix, out);
  else if (interpolation == vision::Interpolation::kBilinear)
    sample_filtered<2>(image, matrix, out, linear);
  else
    sample_filtered<4>(image, matrix, out, cubic);
  return out;
}

Image rotate(const Image& image, double degrees, vision::Interpolation interpolation,
             const Colour& fill) {
  double angle = std::fmod(degrees, 360.0);
  if (angle < 0) angle += 360.0;
  if (angle == 0) return image;
  if (angle == 180) return turned_upside_down(image);
  if (image.width == image.height && (angle == 90 || angle == 270))
    return quarter_turned(image, angle == 90);
  const double radians = -(angle * (std::numbers::pi / 180));
  const double cosine = rounded(std::cos(radians)), sine = rounded(std::sin(radians));
  const double centre_x = static_cast<double>(image.width) / 2;
  const double centre_y = static_cast<double>(image.height) / 2;
  Matrix matrix{cosine, sine, 0, -sine, cosine, 0};
  matrix[2] = matrix[0] * -centre_x + matrix[1] * -centre_y + centre_x;
  matrix[5] = matrix[3] * -centre_x + matrix[4] * -centre_y + centre_y;
  return affine(image, matrix, interpolation, fill);
}

}  // namespace bifocal::training
