#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/safetensors.h"

namespace bifocal::nn {

// Weights by name, float32 and contiguous (integers stay integers).
using StateDict = std::map<std::string, at::Tensor, std::less<>>;

// Copies out of the file; F16, BF16 and F64 become float32.
StateDict read_state_dict(const core::Safetensors& file);
// The same without copying what is float32 already: such tensors lie in the mapped file, which they
// keep, and must not be written to.
StateDict map_state_dict(const core::Safetensors& file);

// Stored as F32 or BF16 (round to nearest even), from whatever device.
void write_state_dict(const std::filesystem::path& path, const StateDict& weights,
                      core::DType stored_as,
                      const std::map<std::string, std::string, std::less<>>& metadata = {});

// Everything named_parameters() and named_buffers() hold.
StateDict state_dict_of(const torch::nn::Module& module);

// Where its parameters are: all on one device. The CPU for a module without any.
at::Device device_of(const torch::nn::Module& module);

// How one publisher's weight names become ours. Rules are tried in order; the first whose pattern
// (ECMAScript regex, whole name) matches wins. A dialect is a table of these.
struct NameRule {
  std::string_view pattern;
  std::string_view name;  // ours, with $1, $2...; empty: a weight that we do not use
  int part = 0;           // this weight is slice `part` of `parts` along the first dimension: how a
  int parts = 1;          // published query, key and value become one qkv
};

// Renames `weights` by `rules`. A weight that no rule matches is an Error(kInvalidBundle) naming
// it.
StateDict rename(const StateDict& weights, std::span<const NameRule> rules,
                 std::string_view source);

// What becomes of weights that a module is given.
enum class Holding {
  kCopied,  // into memory of the module's own, to be trained there
  kShared,  // the module's parameters are the tensors that it is given, to compile from alone
};

// Gives the module `weights` (already under our names). Throws Error(kInvalidBundle) that
// names every missing, extra and mis-shaped weight (shapes expected and found), up to ten of each.
// BatchNorm's num_batches_tracked may be absent.
void load_weights(torch::nn::Module& module, const StateDict& weights, std::string_view source,
                  Holding holding = Holding::kCopied);

}  // namespace bifocal::nn
