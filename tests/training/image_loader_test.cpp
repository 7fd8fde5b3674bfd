#include "training/image_loader.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bifocal/error.h"
#include "encoded_picture.h"

namespace bifocal::training {
namespace {

RecordSet pictures(std::uint32_t count) {
  RecordSet records;
  for (std::uint32_t i = 0; i < count; ++i) {
    Record record;
    record.id = record.image = "picture " + std::to_string(i);
    records.add(record, [i] { return testing::encoded_picture(i, 60, 44); });
  }
  return records;
}

vision::Preprocess preprocess() {
  vision::Preprocess preprocess;
  preprocess.resize = vision::Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.resize_width = preprocess.height = preprocess.width = 32;
  return preprocess;
}

Augmentation everything() {
  Augmentation augmentation;
  augmentation.crop = RandomResizedCrop{};
  augmentation.horizontal_flip = 0.5;
  augmentation.rotation = 20;
  augmentation.color_jitter = {0.4, 0.4, 0.4, 0.1};
  augmentation.rand_augment = RandAugment{};
  augmentation.erasing = RandomErasing{.probability = 0.5};
  return augmentation;
}

Batch batch_of(std::vector<std::size_t> samples, std::int64_t number, std::int64_t epoch) {
  Batch batch;
  batch.samples = std::move(samples);
  batch.number = number;
  batch.epoch = epoch;
  batch.seed = 3;
  return batch;
}

TEST(ImageLoader, TheNumberOfThreadsChangesNoPixel) {
  const RecordSet records = pictures(6);
  std::vector<std::vector<at::Tensor>> found;
  for (const std::size_t threads : {1u, 2u, 5u}) {
    ImageLoader loader(records, preprocess(), everything(), threads);
    std::vector<at::Tensor> batches;
    const std::vector<Batch> wanted = {batch_of({0, 1, 2}, 0, 0), batch_of({5, 3, 4}, 1, 0),
                                       batch_of({0, 1, 2}, 2, 1)};
    for (const Batch& batch : wanted) loader.prepare(batch);
    for (const Batch& batch : wanted) batches.push_back(loader.take(batch));
    found.push_back(batches);
  }
  for (std::size_t b = 0; b < 3; ++b) {
    EXPECT_TRUE(at::equal(found[0][b], found[1][b])) << b;
    EXPECT_TRUE(at::equal(found[0][b], found[2][b])) << b;
  }
  EXPECT_FALSE(at::equal(found[0][0], found[0][2])) << "an epoch is as the one before";
}

TEST(ImageLoader, ASampleIsTheSameInAnyBatch) {
  const RecordSet records = pictures(4);
  ImageLoader loader(records, preprocess(), everything(), 2);
  const at::Tensor first = loader.take(batch_of({0, 1, 2}, 0, 0));
  const at::Tensor second = loader.take(batch_of({3, 1}, 7, 0));
  EXPECT_TRUE(at::equal(first[1], second[1]));
}

TEST(ImageLoader, WithoutAugmentationAPictureIsAsItIsServed) {
  const RecordSet records = pictures(2);
  ImageLoader loader(records, preprocess(), {}, 2);
  const at::Tensor pixels = loader.take(batch_of({1}, 0, 0));
  at::Tensor served = at::zeros({1, 3, 32, 32});
  vision::preprocess_into(vision::decode(records.read_image(1)), preprocess(),
                          {served.mutable_data_ptr<float>(), 3 * 32 * 32});
  EXPECT_TRUE(at::equal(pixels, served));
}

TEST(ImageLoader, WhatDoesNotDecodeIsNamed) {
  RecordSet records = pictures(1);
  Record broken;
  broken.id = broken.image = "broken.jpg";
  records.add(broken, [] { return std::vector<std::byte>(40); });
  ImageLoader loader(records, preprocess(), {}, 2);
  try {
    loader.take(batch_of({0, 1}, 0, 0));
    FAIL() << "it was decoded";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), ::testing::HasSubstr("broken.jpg"));
  }
  EXPECT_EQ(loader.take(batch_of({0}, 1, 0)).size(0), 1) << "the next batch is not lost";
}

}  // namespace
}  // namespace bifocal::training
