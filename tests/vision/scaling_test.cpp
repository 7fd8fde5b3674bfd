#include "vision/scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <string>

#include "bifocal/error.h"
#include "vision/efficientnet.h"

namespace bifocal::vision {
namespace {

using ::testing::HasSubstr;

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(RoundWidth, GivesMultiplesOfEightNeverBelow90PercentAndRises) {
  std::int64_t last = 0;
  for (double wanted = 1; wanted < 400; wanted += 0.13) {
    const std::int64_t rounded = round_width(wanted, 1.0);
    EXPECT_EQ(rounded % 8, 0);
    EXPECT_GE(static_cast<double>(rounded), 0.9 * wanted);
    EXPECT_LT(static_cast<double>(rounded), wanted + 8);
    EXPECT_GE(rounded, last);
    last = rounded;
  }
}

TEST(RoundDepth, RoundsUp) {
  EXPECT_EQ(round_depth(1, 1.0), 1);
  EXPECT_EQ(round_depth(1, 1.1), 2);
  EXPECT_EQ(round_depth(4, 3.1), 13);
}

TEST(PaddingOf, GivesTheSameOutputSizeEitherWay) {
  for (const std::int64_t kernel : {1, 3, 5, 7})
    for (std::int64_t stride = 1; stride <= std::min<std::int64_t>(kernel, 3); ++stride)
      for (std::int64_t size = 1; size < 40; ++size)
        for (const Padding padding : {Padding::kSame, Padding::kSymmetric}) {
          const AxisPadding added = padding_of(padding, size, kernel, stride);
          EXPECT_LE(added.before, added.after);
          EXPECT_EQ((size + added.before + added.after - kernel) / stride + 1,
                    (size + stride - 1) / stride)
              << "size " << size << " kernel " << kernel << " stride " << stride;
        }
}

// Parameters in millions as the papers and model cards print them.
struct Published {
  const char* name;
  double parameters_in_millions;
};
constexpr std::array kPublishedParameters = {
    Published{"efficientnet-b0", 5.29},     Published{"efficientnet-b1", 7.79},
    Published{"efficientnet-b2", 9.11},     Published{"efficientnet-b3", 12.23},
    Published{"efficientnet-b4", 19.34},    Published{"efficientnet-b5", 30.39},
    Published{"efficientnet-b6", 43.04},    Published{"efficientnet-b7", 66.35},
    Published{"efficientnet-lite0", 4.65},  Published{"efficientnet-lite1", 5.42},
    Published{"efficientnet-lite2", 6.09},  Published{"efficientnet-lite3", 8.20},
    Published{"efficientnet-lite4", 13.01}, Published{"efficientnetv2-b0", 7.14},
    Published{"efficientnetv2-b1", 8.14},   Published{"efficientnetv2-b2", 10.10},
    Published{"efficientnetv2-b3", 14.36},  Published{"efficientnetv2-s", 21.46},
    Published{"efficientnetv2-m", 54.14},   Published{"efficientnetv2-l", 118.52},
};

TEST(Cost, HasThePublishedParameters) {
  ASSERT_EQ(kPublishedParameters.size(), efficientnet_names().size());
  for (const Published& model : kPublishedParameters)
    EXPECT_NEAR(static_cast<double>(cost(efficientnet(model.name)).parameters) / 1e6,
                model.parameters_in_millions, 0.006)
        << model.name;
}

// In billions, at each model's own resolution, to the digits that are published.
struct KnownMultiplyAdds {
  const char* name;
  double billions, rounding;
};
constexpr std::array kKnownMultiplyAdds = {
    KnownMultiplyAdds{"efficientnet-b0", .386, .001},
    KnownMultiplyAdds{"efficientnet-b1", .687, .001},
    KnownMultiplyAdds{"efficientnet-b2", .994, .001},
    KnownMultiplyAdds{"efficientnet-b3", 1.83, .01},
    KnownMultiplyAdds{"efficientnet-b4", 4.39, .01},
    KnownMultiplyAdds{"efficientnet-b5", 10.3, .1},
    KnownMultiplyAdds{"efficientnet-b6", 19.1, .1},
    KnownMultiplyAdds{"efficientnet-b7", 37.7, .1},
    KnownMultiplyAdds{"efficientnet-lite0", .39, .01},
    KnownMultiplyAdds{"efficientnet-lite1", .60, .01},
    KnownMultiplyAdds{"efficientnet-lite2", .86, .01},
    KnownMultiplyAdds{"efficientnet-lite3", 1.38, .01},
    KnownMultiplyAdds{"efficientnet-lite4", 2.55, .01},
};

TEST(Cost, HasTheKnownMultiplyAdds) {
  for (const KnownMultiplyAdds& known : kKnownMultiplyAdds)
    EXPECT_NEAR(static_cast<double>(cost(efficientnet(known.name)).multiply_adds) / 1e9,
                known.billions, known.rounding)
        << known.name;
}

std::int64_t parameters_of(const EfficientNetConfig& config) {
  const EfficientNet module(config);
  std::int64_t parameters = 0;
  for (const at::Tensor& parameter : module->parameters()) parameters += parameter.numel();
  return parameters;
}

TEST(Cost, CountsTheParametersThatTheModuleHas) {
  for (const std::string_view name : efficientnet_names()) {
    EfficientNetConfig config = efficientnet(name);
    EXPECT_EQ(cost(config).parameters, parameters_of(config)) << name;
  }
  for (const double phi : {0.0, 0.3, 1.5}) {
    EfficientNetConfig config = efficientnet_for_phi(phi);
    config.num_classes = 0;
    EXPECT_EQ(cost(config).parameters, parameters_of(config)) << config.name;
  }
}

TEST(Cost, GrowsWithTheResolutionInMultiplyAddsAlone) {
  const EfficientNetConfig config = efficientnet("efficientnetv2-b0");
  EXPECT_EQ(cost(config, 448).parameters, cost(config, 224).parameters);
  // All but the classifier and squeeze-and-excitation, which see no pixels.
  EXPECT_GT(static_cast<double>(cost(config, 448).multiply_adds),
            3.9 * static_cast<double>(cost(config, 224).multiply_adds));
}

TEST(Efficientnet, KeepsWhatEachFamilyKeeps) {
  const EfficientNetConfig lite4 = efficientnet("efficientnet-lite4");
  EXPECT_EQ(lite4.stem_channels, 32);
  EXPECT_EQ(lite4.head_channels, 1280);
  EXPECT_EQ(lite4.stages.front().layers, 1);
  EXPECT_EQ(lite4.stages.back().layers, 1);
  EXPECT_EQ(lite4.activation, ConvActivation::kRelu6);
  for (const StageConfig& stage : lite4.stages) EXPECT_EQ(stage.se_ratio, 0);
  // 16 * 1.2 = 19.2 becomes 16, which is less than 90 % of it.
  EXPECT_EQ(efficientnet("efficientnetv2-b3").stages.front().out_channels, 16);
}

TEST(Efficientnet, ListsTheNamesWhereThereIsNone) {
  const std::string message = message_of([] { efficientnet("efficientnet-b9"); });
  EXPECT_THAT(message, HasSubstr("efficientnet-b9"));
  for (const std::string_view name : efficientnet_names())
    EXPECT_THAT(message, HasSubstr(std::string(name)));
}

TEST(DetailChannels, AreThoseOfTheCellsThatATokenCovers) {
  EfficientNetConfig config = efficientnet("efficientnet-lite0");
  EXPECT_EQ(detail_channels(config), 0);
  config.detail_stage = 4;  // 14 by 14 of 80 channels, of 224 pixels; tokens are 7 by 7
  EXPECT_EQ(detail_fold(config), 2);
  EXPECT_EQ(detail_channels(config), 320);
  config.detail_stage = 7;
  EXPECT_EQ(detail_fold(config), 1);
  EXPECT_EQ(detail_channels(config), 320);
}

TEST(EfficientnetForPhi, StartsAtB0AndOnlyGrows) {
  EfficientNetConfig b0 = efficientnet("efficientnet-b0");
  EXPECT_EQ(efficientnet_for_phi(0), b0);
  Cost last = cost(b0);
  for (int step = 1; step <= 7 * 64; ++step) {
    const Cost next = cost(efficientnet_for_phi(step / 64.0));
    EXPECT_GE(next.parameters, last.parameters);
    EXPECT_GE(next.multiply_adds, last.multiply_adds);
    last = next;
  }
}

TEST(EfficientnetForPhi, RefusesWhatIsNoScaling) {
  EXPECT_THROW(efficientnet_for_phi(-0.1), Error);
  EXPECT_THROW(efficientnet_for_phi(std::nan("")), Error);
  EXPECT_THROW(efficientnet_for_phi(1, {.alpha = 0.9}), Error);
}

TEST(LargestWithin, IsTheLargestThatFits) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> phis(0, 6);
  for (int i = 0; i < 50; ++i) {
    const Cost limit = cost(efficientnet_for_phi(phis(random)));
    for (const Budget& budget : {Budget{.max_parameters = limit.parameters},
                                 Budget{.max_multiply_adds = limit.multiply_adds},
                                 Budget{limit.parameters, limit.multiply_adds / 2, 0}}) {
      if (budget.max_multiply_adds > 0 &&
          budget.max_multiply_adds < cost(efficientnet_for_phi(0)).multiply_adds)
        continue;
      const auto fits = [&](const EfficientNetConfig& config) {
        const Cost spent = cost(config);
        return (budget.max_parameters == 0 || spent.parameters <= budget.max_parameters) &&
               (budget.max_multiply_adds == 0 || spent.multiply_adds <= budget.max_multiply_adds);
      };
      const EfficientNetConfig chosen = largest_within(budget);
      EXPECT_TRUE(fits(chosen));
      EfficientNetConfig largest;
      for (int step = 0; step <= 8 * 64; ++step) {
        EfficientNetConfig config = efficientnet_for_phi(step / 64.0);
        if (fits(config)) largest = std::move(config);
      }
      EXPECT_EQ(chosen, largest);
    }
  }
}

TEST(LargestWithin, MeasuresFewModelsAndNoneFarTooLarge) {
  int measured = 0;
  double longest = 0;
  const auto milliseconds = [&](const EfficientNetConfig& config) {
    ++measured;
    const double taken = static_cast<double>(cost(config).multiply_adds) / 50e6;
    longest = std::max(longest, taken);
    return taken;
  };
  const EfficientNetConfig chosen = largest_within({.max_milliseconds = 40}, milliseconds);
  EXPECT_LE(static_cast<double>(cost(chosen).multiply_adds) / 50e6, 40);
  EXPECT_LE(measured, 12);
  EXPECT_LT(longest, 40 * 3);
}

TEST(LargestWithin, SaysWhyThereIsNone) {
  EXPECT_THAT(message_of([] { largest_within({.max_parameters = 1000}); }),
              HasSubstr(std::to_string(cost(efficientnet("efficientnet-b0")).parameters)));
  EXPECT_THAT(message_of([] { largest_within({}); }), HasSubstr("no limit"));
  EXPECT_THAT(message_of([] { largest_within({.max_milliseconds = 10}); }), HasSubstr("measure"));
}

TEST(Check, NamesWhatNoNetworkCanHave) {
  const auto message = [](const auto& change) {
    EfficientNetConfig config = efficientnet("efficientnet-b0");
    change(config);
    return message_of([&] { EfficientNet{config}; });
  };
  EXPECT_THAT(message([](auto& c) { c.stages.clear(); }), HasSubstr("no stages"));
  EXPECT_THAT(message([](auto& c) { c.stages[2].kernel = 4; }), HasSubstr("stage 2: kernel"));
  EXPECT_THAT(message([](auto& c) { c.stages[3].in_channels = 41; }),
              HasSubstr("stage 3: in_channels is 41"));
  EXPECT_THAT(message([](auto& c) { c.stages[0].stride = 0; }), HasSubstr("stage 0: stride"));
  EXPECT_THAT(message([](auto& c) { c.stages[1].expand_ratio = 0.5; }), HasSubstr("expand_ratio"));
  EXPECT_THAT(message([](auto& c) { c.stages[1].se_ratio = 2; }), HasSubstr("se_ratio"));
  EXPECT_THAT(message([](auto& c) { c.stem_channels = 0; }), HasSubstr("stem_channels"));
  EXPECT_THAT(message([](auto& c) { c.batch_norm_eps = 0; }), HasSubstr("batch_norm_eps"));
  EXPECT_THAT(message([](auto& c) { c.drop_connect_rate = 1; }), HasSubstr("drop_connect_rate"));
  EXPECT_THAT(message([](auto& c) { c.detail_stage = 8; }), HasSubstr("detail_stage"));
}

}  // namespace
}  // namespace bifocal::vision
