#include "training/teacher.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "encoded_picture.h"
#include "models/bundle.h"
#include "nn/pooling.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"
#include "training/retrieval_loss.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

// Sum over outcomes of q log(q / p), p and q being softmax of the logits; mean over the rows.
double divergence_by_hand(const at::Tensor& logits, const at::Tensor& taught) {
  double sum = 0;
  for (std::int64_t row = 0; row < logits.size(0); ++row) {
    double p_total = 0, q_total = 0;
    for (std::int64_t column = 0; column < logits.size(1); ++column) {
      p_total += std::exp(logits[row][column].item<double>());
      q_total += std::exp(taught[row][column].item<double>());
    }
    for (std::int64_t column = 0; column < logits.size(1); ++column) {
      const double p = std::exp(logits[row][column].item<double>()) / p_total;
      const double q = std::exp(taught[row][column].item<double>()) / q_total;
      sum += q * std::log(q / p);
    }
  }
  return sum / static_cast<double>(logits.size(0));
}

TEST(TeacherDivergence, IsThatOfRowsAndOfColumns) {
  const at::Tensor a = nn::l2_normalize(at::randn({5, 8})), b = nn::l2_normalize(at::randn({5, 8}));
  const at::Tensor taught_a = at::randn({5, 3}), taught_b = at::randn({5, 3});
  const at::Tensor scale = at::tensor(7.0f);
  const at::Tensor logits = a.mm(b.t()) * 7, taught = taught_a.mm(taught_b.t()) / 2;
  EXPECT_NEAR(
      teacher_divergence(a, b, scale, taught_a, taught_b, 2, ProcessGroup()).item<double>(),
      0.5 * (divergence_by_hand(logits, taught) + divergence_by_hand(logits.t(), taught.t())),
      1e-5);
}

TEST(TeacherDivergence, IsZeroWithoutAGradientWhereTheTeacherAgrees) {
  at::Tensor a = nn::l2_normalize(at::randn({4, 6}));
  const at::Tensor b = nn::l2_normalize(at::randn({4, 6}));
  a.requires_grad_();
  const double root = std::sqrt(30.0);
  const at::Tensor divergence = teacher_divergence(a, b, at::tensor(15.0f), a.detach() * root,
                                                   b * root, /*temperature=*/2, ProcessGroup());
  divergence.backward();
  EXPECT_NEAR(divergence.item<double>(), 0, 1e-5);
  EXPECT_LT(a.grad().abs().max().item<double>(), 1e-5);
}

struct Teachers : ::testing::Test {
  TemporaryDirectory directory;
  models::BundleParts parts = testing::write_tiny_encoders(directory.path());
  std::size_t encoded = 0;
  EncodingOptions options{
      directory / "cache", 1, [this](std::size_t, std::size_t) { ++encoded; }, {}};
  RecordSet records = [] {
    RecordSet pictures;
    for (std::uint32_t i = 0; i < 3; ++i) {
      Record record;
      record.id = record.image = "picture " + std::to_string(i);
      pictures.add(record, [i] { return testing::encoded_picture(i); });
    }
    return pictures;
  }();
  std::vector<std::string> texts = {"a dog", "the cat runs", "a house", "a cat"};

  Teacher teacher(const std::string& name, std::uint64_t seed) {
    parts.seed = seed;
    models::write_bundle(parts, directory / name, /*replace=*/false);
    return load_teacher(directory / name);
  }
};

TEST_F(Teachers, GiveLogitsOfTheirContrastiveLoss) {
  const Teacher one = teacher("one", 1);
  const TeacherVectors vectors = teacher_vectors({one}, records, texts, options);
  ASSERT_EQ(vectors.images.size(0), 3);
  ASSERT_EQ(vectors.captions.size(0), 4);
  const auto lengths = [](const at::Tensor& rows) { return (rows * rows).sum(1); };
  for (const at::Tensor& rows : {vectors.images, vectors.captions})
    EXPECT_TRUE(at::allclose(lengths(rows), at::full({rows.size(0)}, one.scale), 1e-2, 0));
}

TEST_F(Teachers, OfSeveralTheLogitsAreTheMean) {
  const Teacher one = teacher("one", 1), two = teacher("two", 2);
  const auto logits = [&](const std::vector<Teacher>& teachers) {
    const TeacherVectors vectors = teacher_vectors(teachers, records, texts, options);
    return vectors.images.mm(vectors.captions.t());
  };
  EXPECT_FALSE(at::allclose(logits({one}), logits({two}), 1e-2, 1e-2));
  EXPECT_TRUE(at::allclose(logits({one, two}), 0.5 * (logits({one}) + logits({two})), 1e-4, 1e-4));
}

TEST_F(Teachers, WorkOnceForTheSameItems) {
  const TeacherVectors first = teacher_vectors({teacher("one", 1)}, records, texts, options);
  const std::size_t once = encoded;
  EXPECT_GT(once, 0u);
  const Teacher again = load_teacher(directory / "one");
  EXPECT_TRUE(at::equal(teacher_vectors({again}, records, texts, options).images, first.images));
  EXPECT_EQ(encoded, once) << "it was encoded again";
  teacher_vectors({again}, records, {"another text"}, options);
  EXPECT_GT(encoded, once);
  const std::size_t twice = encoded;
  teacher_vectors({teacher("two", 2)}, records, texts, options);
  EXPECT_GT(encoded, twice) << "another teacher was taken for the first";
}

TEST_F(Teachers, OneThatDoesNotLoadIsRefused) {
  EXPECT_THROW(load_teacher(directory / "nowhere"), Error);
  EXPECT_THROW(load_teacher(parts.vision), Error);  // an encoder is no bundle
}

}  // namespace
}  // namespace bifocal::training
