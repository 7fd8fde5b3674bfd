#include "models/fusion_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "forced_kernels.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"

namespace bifocal::models {
namespace {

class FusionModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FusionModel::load(Bundle::open(bifocal::testing::write_tiny_bundle(directory_.path())),
                               nn::Precision::kFp32);
  }
  bifocal::testing::TemporaryDirectory directory_;
  std::shared_ptr<const FusionModel> model_;
};

TEST_F(FusionModelTest, GivesTheShapesThatItsConfigSays) {
  const c10::InferenceMode guard;
  const auto images = model_->encode_images(at::rand({3, 3, 64, 64}));
  const at::Tensor ids = at::randint(0, 60, {3, 7}, at::kLong);
  const auto texts = model_->encode_texts(ids, at::zeros_like(ids), at::ones({3, 7}, at::kBool));
  const auto both = model_->fuse(&images, &texts);
  EXPECT_EQ(both.embedding.sizes(), (std::vector<std::int64_t>{3, 24}));
  EXPECT_EQ(model_->match(both).sizes(), (std::vector<std::int64_t>{3}));
  EXPECT_EQ(model_->fuse(&images, nullptr).embedding.sizes(), both.embedding.sizes());
  EXPECT_EQ(model_->fuse(nullptr, &texts).embedding.sizes(), both.embedding.sizes());
  EXPECT_FALSE(at::allclose(model_->fuse(&images, nullptr).embedding, both.embedding));
}

// By kernels of integers near float32; where there are none, float32 itself.
TEST_F(FusionModelTest, InIntegersItStaysNearFloat32) {
  const c10::InferenceMode guard;
  const Bundle bundle = Bundle::open(directory_ / "bundle");
  const at::Tensor pixels = at::rand({3, 3, 64, 64}), ids = at::randint(0, 60, {3, 7}, at::kLong);
  const auto fused_in = [&](nn::Precision precision) {
    const auto model = FusionModel::load(bundle, precision);
    const auto images = model->encode_images(pixels);
    const auto texts = model->encode_texts(ids, at::zeros_like(ids), at::ones({3, 7}, at::kBool));
    return model->fuse(&images, &texts).embedding;
  };
  const auto of_integers = bifocal::testing::own_kernels(nn::Precision::kInt8);
  std::vector<std::string> names = bifocal::testing::own_kernels(nn::Precision::kFp32);
  names.emplace_back("torch");
  for (const std::string& name : names) {
    const bifocal::testing::ForcedKernels forced(name);
    const at::Tensor found = fused_in(nn::Precision::kInt8);
    const at::Tensor expected = fused_in(nn::Precision::kFp32);
    const bool has_integers = std::ranges::find(of_integers, name) != of_integers.end();
    EXPECT_EQ(found.equal(expected), !has_integers) << name;
    EXPECT_GT((found * expected).sum(1).min().item<double>(), 0.98) << name;
  }
}

TEST_F(FusionModelTest, CountsEveryParameterOfItsParts) {
  EXPECT_GT(model_->vision_cost().parameters, 0);
  EXPECT_GT(model_->text_cost().parameters, model_->vision_cost().parameters);
  EXPECT_EQ(model_->fusion_cost().parameters,
            fusion::cost(model_->fusion_config(), 49, 16).parameters);
  EXPECT_GT(model_->vision_cost().multiply_adds, 0);
}

}  // namespace
}  // namespace bifocal::models
