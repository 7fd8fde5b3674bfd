#pragma once

#include <array>
#include <cstdint>

#include "vision/codec.h"
#include "vision/resize.h"

namespace bifocal::training {

// What Pillow's ImageEnhance, ImageOps and Image.transform do to 8-bit RGB, to the bit: the
// operations that torchvision's and timm's augmentations of PIL images are made of. Each changes
// its image or returns a new one of the same size. Thread-safe.

// ImageEnhance: 0 gives black, mean grey, greyscale or smoothed; 1 leaves the image as it is.
void adjust_brightness(vision::Image& image, float factor);
void adjust_contrast(vision::Image& image, float factor);
void adjust_saturation(vision::Image& image, float factor);  // ImageEnhance.Color
void adjust_sharpness(vision::Image& image, float factor);

// torchvision's adjust_hue: by `turns` of the colour circle, from -0.5 to 0.5, on Pillow's 8-bit
// HSV.
void adjust_hue(vision::Image& image, double turns);

// ImageOps.
void auto_contrast(vision::Image& image);
void equalize(vision::Image& image);
void invert(vision::Image& image);
void posterize(vision::Image& image, int bits);                         // 1 to 8 bits kept
void solarize(vision::Image& image, int threshold);                     // inverts what is not below
void solarize_add(vision::Image& image, int add, int threshold = 128);  // adds to what is below
void flip_horizontally(vision::Image& image);

using Colour = std::array<std::uint8_t, 3>;  // RGB

// Image.transform(size, AFFINE, matrix, resample, fillcolor=fill): the output pixel at (x, y) is
// that of the input at (m0 x + m1 y + m2, m3 x + m4 y + m5), pixel centres at halves.
vision::Image affine(const vision::Image& image, const std::array<double, 6>& matrix,
                     vision::Interpolation interpolation, const Colour& fill);

// Image.rotate(degrees, resample, fillcolor=fill): counter-clockwise about the centre, the size
// kept.
vision::Image rotate(const vision::Image& image, double degrees,
                     vision::Interpolation interpolation, const Colour& fill);

}  // namespace bifocal::training
