#include "models/fusion_model.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

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

TEST_F(FusionModelTest, CountsEveryParameterOfItsParts) {
  EXPECT_GT(model_->vision_cost().parameters, 0);
  EXPECT_GT(model_->text_cost().parameters, model_->vision_cost().parameters);
  EXPECT_EQ(model_->fusion_cost().parameters,
            fusion::cost(model_->fusion_config(), 49, 16).parameters);
  EXPECT_GT(model_->vision_cost().multiply_adds, 0);
}

}  // namespace
}  // namespace bifocal::models
