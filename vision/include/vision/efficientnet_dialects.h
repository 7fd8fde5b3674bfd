#pragma once

#include <span>
#include <string>
#include <string_view>

#include "nn/weights.h"
#include "vision/scaling.h"

namespace bifocal::vision {

// Weight names of a block's parts, without their block's prefix; empty where the kind has no such
// part.
struct BlockNames {
  std::string_view expand_conv, expand_norm;
  std::string_view depthwise_conv, depthwise_norm;
  std::string_view se_reduce, se_expand;
  std::string_view project_conv, project_norm;
};

// One publisher's names for the whole family.
struct EfficientNetDialect {
  std::string_view name;
  std::string_view optional_prefix;  // of every weight, where the encoder sits in a larger model
  std::string_view stem_conv, stem_norm;
  std::string_view head_conv, head_norm;  // {end}: the number of stages + 1
  std::string_view classifier;
  std::string_view block;  // {stage}, {stage1} (from 1), {layer}, {index} (flat, from 0)
  BlockNames mbconv, mbconv_unexpanded, fused, conv;
};

std::span<const EfficientNetDialect> efficientnet_dialects();

// The dialect whose stem is among the weights. Throws Error(kInvalidBundle) that lists the
// dialects.
const EfficientNetDialect& recognise_dialect(const nn::StateDict& weights, std::string_view source);

// The name in the dialect of the classifier's weight, for finding out how many classes there are.
std::string classifier_weight(const EfficientNetDialect& dialect, const nn::StateDict& weights);

// The weights under the names of EfficientNetImpl. One that `config` has no place for is kept under
// its own name, so that loading can name it. Throws Error(kInvalidBundle) where two weights would
// have one name.
nn::StateDict translate(const nn::StateDict& weights, const EfficientNetDialect& dialect,
                        const EfficientNetConfig& config, std::string_view source);

}  // namespace bifocal::vision
