#include "training/image_ops.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace bifocal::training {
namespace {

using vision::Image;
using Table = std::array<std::uint8_t, 256>;
using Histogram = std::array<std::int64_t, 256>;

std::uint8_t clipped(std::int64_t value) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
}

template <typename F>
Table table_of(F&& value_at) {
  Table table;
  for (int i = 0; i < 256; ++i) table[static_cast<std::size_t>(i)] = clipped(value_at(i));
  return table;
}

void apply(Image& image, const Table& table) {
  for (std::uint8_t& value : image.pixels) value = table[value];
}

void apply(Image& image, const std::array<Table, 3>& tables) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) image.pixels[i + c] = tables[c][image.pixels[i + c]];
}

std::array<Histogram, 3> histograms(const Image& image) {
  std::array<Histogram, 3> counts{};
  for (std::size_t i = 0; i < image.pixels.size(); i += 3)
    for (std::size_t c = 0; c < 3; ++c) ++counts[c][image.pixels[i + c]];
  return counts;
}

// Rec. 601 luma in 16-bit fixed point: Pillow's conversion to "L".
std::uint8_t luma(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >>
                                   16);
}

// Image.blend in single precision, truncated.
std::uint8_t blended(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
}

void blend_with_grey(Image& image, int grey, float factor) {
  apply(image, table_of([&](int value) { return blended(grey, value, factor); }));
}

// ImageFilter.SMOOTH: 3 x 3 with a centre of 5, of 13 in all; the outermost pixels stay.
Image smoothed(const Image& image) {
  Image result = image;
  const std::int64_t stride = 3 * image.width;
  for (std::int64_t y = 1; y + 1 < image.height; ++y) {
    const std::uint8_t* row = image.pixels.data() + y * stride;
    std::uint8_t* out = result.pixels.data() + y * stride;
    for (std::int64_t i = 3; i + 3 < stride; ++i) {
      int sum = 4 * row[i];
      for (const std::uint8_t* line : {row - stride, row, row + stride})
        sum += line[i - 3] + line[i] + line[i + 3];
      out[i] = static_cast<std::uint8_t>((2 * sum + 13) / 26);
    }
  }
  return result;
}

struct Hsv {
  std::uint8_t hue, saturation, value;
};

Hsv to_hsv(const std::uint8_t* rgb) {
  const std::uint8_t r = rgb[0], g = rgb[1], b = rgb[2];
  const std::uint8_t highest = std::max({r, g, b}), lowest = std::min({r, g, b});
  if (highest == lowest) return {0, 0, highest};
  const auto range = static_cast<float>(highest - lowest);
  const float saturation = range / static_cast<float>(highest);
  const float rc = static_cast<float>(highest - r) / range;
  const float gc = static_cast<float>(highest - g) / range;
  const float bc = static_cast<float>(highest - b) / range;
  double sector = 4.0 + gc - rc;
  if (r == highest)
    sector = bc - gc;
  else if (g == highest)
    sector = 2.0 + rc - bc;
  const auto hue = static_cast<float>(
      std::fmod(static_cast<double>(static_cast<float>(sector)) / 6.0 + 1.0, 1.0));
  return {clipped(static_cast<int>(static_cast<double>(hue) * 255.0)),
          clipped(static_cast<int>(static_cast<double>(saturation) * 255.0)), highest};
}

void to_rgb(const Hsv& hsv, std::uint8_t* rgb) {
  const std::uint8_t v = hsv.value;
  if (hsv.saturation == 0) {
    std::fill_n(rgb, 3, v);
    return;
  }
  const double position = static_cast<double>(hsv.hue) * 6.0 / 255.0;
  const int sector = static_cast<int>(std::floor(position));
  const auto rest = static_cast<double>(static_cast<float>(position - sector));
  const auto saturation = static_cast<double>(static_cast<float>(hsv.saturation / 255.0));
  const auto scaled = [v](double share) {
    return clipped(static_cast<std::int64_t>(std::round(v * share)));
  };
  const std::uint8_t p = scaled(1.0 - saturation);
  const std::uint8_t q = scaled(1.0 - saturation * rest);
  const std::uint8_t t = scaled(1.0 - saturation * (1.0 - rest));
  const std::array<Colour, 6> sectors{
      {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  const Colour& colour = sectors[static_cast<std::size_t>(sector % 6)];
  std::copy(colour.begin(), colour.end(), rgb);
}

Table equalizing(const Histogram& counts) {
  std::int64_t total = 0, last = 0, distinct = 0;
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    total += count;
    last = count;
    ++distinct;
  }
  const std::int64_t step = (total - last) / 255;
  if (distinct <= 1 || step == 0) return table_of([](int value) { return value; });
  std::int64_t below = step / 2;
  return table_of([&](int value) {
    const std::int64_t level = below / step;
    below += counts[static_cast<std::size_t>(value)];
    return level;
  });
}

Table stretching(const Histogram& counts) {
  const auto used = [](std::int64_t count) { return count > 0; };
  const auto lowest = std::find_if(counts.begin(), counts.end(), used) - counts.begin();
  const auto highest = 255 - (std::find_if(counts.rbegin(), counts.rend(), used) - counts.rbegin());
  if (highest <= lowest) return table_of([](int value) { return value; });
  const double scale = 255.0 / static_cast<double>(highest - lowest);
  const double offset = -static_cast<double>(lowest) * scale;
  return table_of([&](int value) { return static_cast<std::int64_t>(value * scale + offset); });
}

std::array<Table, 3> tables_of(const Image& image, Table (*table)(const Histogram&)) {
  const std::array<Histogram, 3> counts = histograms(image);
  return {table(counts[0]), table(counts[1]), table(counts[2])};
}

}  // namespace

void adjust_brightness(Image& image, float factor) { blend_with_grey(image, 0, factor); }

void adjust_contrast(Image& image, float factor) {
  if (image.pixels.empty()) return;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) sum += luma(&image.pixels[i]);
  const std::size_t count = image.pixels.size() / 3;
  const double mean = static_cast<double>(sum) / static_cast<double>(count);
  blend_with_grey(image, static_cast<int>(mean + 0.5), factor);
}

void adjust_saturation(Image& image, float factor) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    const std::uint8_t grey = luma(&image.pixels[i]);
    for (std::size_t c = 0; c < 3; ++c)
      image.pixels[i + c] = blended(grey, image.pixels[i + c], factor);
  }
}

void adjust_sharpness(Image& image, float factor) {
  const Image smooth = smoothed(image);
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = blended(smooth.pixels[i], image.pixels[i], factor);
}

void adjust_hue(Image& image, double turns) {
  const auto shift = static_cast<std::uint8_t>(static_cast<int>(turns * 255));
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    Hsv hsv = to_hsv(&image.pixels[i]);
    hsv.hue = static_cast<std::uint8_t>(hsv.hue + shift);
    to_rgb(hsv, &image.pixels[i]);
  }
}

void auto_contrast(Image& image) { apply(image, tables_of(image, stretching)); }

void equalize(Image& image) { apply(image, tables_of(image, equalizing)); }

void invert(Image& image) {
  apply(image, table_of([](int value) { return 255 - value; }));
}

void posterize(Image& image, int bits) {
  const int mask = ~((1 << (8 - bits)) - 1);
  apply(image, table_of([mask](int value) { return value & mask; }));
}

void solarize(Image& image, int threshold) {
  apply(image, table_of([=](int value) { return value < threshold ? value : 255 - value; }));
}

void solarize_add(Image& image, int add, int threshold) {
  apply(image, table_of([=](int value) { return value < threshold ? value + add : value; }));
}

void flip_horizontally(Image& image) {
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* row = image.pixels.data() + 3 * image.width * y;
    for (std::int64_t left = 0, right = image.width - 1; left < right; ++left, --right)
      std::swap_ranges(row + 3 * left, row + 3 * left + 3, row + 3 * right);
  }
}

}  // namespace bifocal::training
