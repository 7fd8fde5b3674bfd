#include "nn/weights.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <filesystem>

#include "bifocal/error.h"

namespace bifocal::nn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PairImpl : public torch::nn::Module {
 public:
  PairImpl() {
    linear = register_module("linear", torch::nn::Linear(3, 2));
    norm = register_module("norm", torch::nn::BatchNorm1d(2));
  }
  torch::nn::Linear linear{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
};

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name)
      : path_(std::filesystem::path(::testing::TempDir()) / name) {}
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(Weights, WhatIsWrittenIsRead) {
  const TemporaryFile file("bifocal_weights_roundtrip.safetensors");
  StateDict weights{{"matrix", at::rand({3, 5})},
                    {"count", at::arange(4)},
                    {"scalar", at::full({}, 2.5)},
                    {"none", at::zeros({0, 7})}};
  write_state_dict(file.path(), weights, core::DType::kF32, {{"made_by", "test"}});
  const auto read = read_state_dict(core::Safetensors::open(file.path()));
  ASSERT_EQ(read.size(), weights.size());
  for (const auto& [name, weight] : weights) {
    EXPECT_TRUE(read.at(name).equal(weight)) << name;
    EXPECT_EQ(read.at(name).scalar_type(), weight.scalar_type()) << name;
  }
}

TEST(Weights, Bfloat16RoundsToNearestEven) {
  const TemporaryFile file("bifocal_weights_bf16.safetensors");
  const auto weight = at::rand({1000}) - 0.5;
  write_state_dict(file.path(), {{"w", weight}}, core::DType::kBF16);
  const auto read = read_state_dict(core::Safetensors::open(file.path())).at("w");
  EXPECT_EQ(read.scalar_type(), at::kFloat);
  EXPECT_TRUE(read.equal(weight.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_LE(((read - weight) / weight).abs().max().item<float>(), 1.0f / 256);
}

TEST(Weights, NoOtherTypeIsWritten) {
  EXPECT_THROW(write_state_dict("never", {}, core::DType::kF16), Error);
}

TEST(Weights, RenameUsesTheFirstRuleThatMatches) {
  const NameRule rules[] = {{R"(drop\..*)", ""}, {R"((\w+)\.gamma)", "$1.weight"}, {".*", "$&"}};
  const auto w = at::rand({2});
  const auto renamed =
      rename({{"norm.gamma", w}, {"drop.me", w}, {"other.bias", w}}, rules, "model");
  ASSERT_EQ(renamed.size(), 2u);
  EXPECT_TRUE(renamed.contains("norm.weight"));
  EXPECT_TRUE(renamed.contains("other.bias"));
}

TEST(Weights, PartsAreJoinedInTheirOrder) {
  const NameRule rules[] = {{R"((.*)\.value)", "$1.qkv", 2, 3},
                            {R"((.*)\.key)", "$1.qkv", 1, 3},
                            {R"((.*)\.query)", "$1.qkv", 0, 3}};
  const auto q = at::rand({2, 4});
  const auto k = at::rand({2, 4});
  const auto v = at::rand({2, 4});
  const auto renamed = rename({{"a.query", q}, {"a.key", k}, {"a.value", v}}, rules, "model");
  EXPECT_TRUE(renamed.at("a.qkv").equal(at::cat({q, k, v})));

  EXPECT_THAT(message_of([&] {
                rename({{"a.query", q}, {"a.value", v}}, rules, "model");
              }),
              HasSubstr("part 2 of 3 of a.qkv is missing"));
  EXPECT_THAT(message_of([&] {
                rename({{"a.query", q}, {"a.key", at::rand({2, 5})}, {"a.value", v}}, rules, "m");
              }),
              HasSubstr("a.key has shape [2, 5]"));
}

TEST(Weights, UnknownAndAmbiguousNamesAreErrors) {
  const NameRule rules[] = {{R"((?:x\.)?(known))", "$1"}};
  const auto w = at::rand({1});
  EXPECT_THAT(message_of([&] {
                rename({{"stranger", w}}, rules, "dir/model");
              }),
              ::testing::AllOf(HasSubstr("dir/model"), HasSubstr("stranger")));
  EXPECT_THAT(message_of([&] {
                rename({{"known", w}, {"x.known", w}}, rules, "model");
              }),
              HasSubstr("x.known and known are both read as known"));
}

TEST(Weights, AHostileNameIsRefusedBeforeAnyPattern) {
  const NameRule rules[] = {{R"((?:.*\.)?weight)", "weight"}};
  const std::string name = std::string(10'000'000, 'a') + ".weight";
  const auto message = message_of([&] { rename({{name, at::rand({1})}}, rules, "model"); });
  EXPECT_THAT(message, HasSubstr("unknown weights"));
  EXPECT_LT(message.size(), 1000u);
}

TEST(Weights, LoadingCopiesIntoParametersAndBuffers) {
  PairImpl source;
  PairImpl target;
  source.norm->running_var.fill_(3);
  load_weights(target, state_dict_of(source), "model");
  const auto loaded = state_dict_of(target);
  for (const auto& [name, weight] : state_dict_of(source)) {
    EXPECT_TRUE(loaded.at(name).equal(weight)) << name;
  }
  EXPECT_TRUE(target.linear->weight.requires_grad());
  source.norm->running_var.fill_(4);
  EXPECT_EQ(target.norm->running_var[0].item<float>(), 3.0f) << "shares memory with its source";
}

TEST(Weights, TheCountOfBatchesMayBeAbsent) {
  PairImpl module;
  auto weights = state_dict_of(module);
  ASSERT_EQ(weights.erase("norm.num_batches_tracked"), 1u);
  EXPECT_NO_THROW(load_weights(module, weights, "model"));
}

TEST(Weights, EveryWeightThatDoesNotFitIsNamed) {
  PairImpl module;
  const auto before = module.linear->bias.clone();
  auto weights = state_dict_of(module);
  weights.erase("norm.running_mean");
  weights["linear.weight"] = at::rand({2, 4});
  weights["linear.bias"] = at::rand({2});
  weights["stray"] = at::rand({1});
  const auto message = message_of([&] { load_weights(module, weights, "dir/model"); });
  EXPECT_THAT(message, HasSubstr("dir/model"));
  EXPECT_THAT(message, HasSubstr("missing: norm.running_mean"));
  EXPECT_THAT(message, HasSubstr("extra: stray"));
  EXPECT_THAT(message, HasSubstr("linear.weight (expected [2, 3], found [2, 4])"));
  EXPECT_TRUE(module.linear->bias.equal(before)) << "a refused load changed the module";
}

TEST(Weights, LongListsAreCutAtTen) {
  PairImpl module;
  auto weights = state_dict_of(module);
  for (int i = 10; i < 30; ++i) weights["stray" + std::to_string(i)] = at::zeros({1});
  const auto message = message_of([&] { load_weights(module, weights, "model"); });
  EXPECT_THAT(message, HasSubstr("stray19 and 10 more"));
  EXPECT_THAT(message, Not(HasSubstr("stray20")));
}

}  // namespace
}  // namespace bifocal::nn
