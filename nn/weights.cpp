#include "nn/weights.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <regex>
#include <utility>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::nn {
namespace {

constexpr std::size_t kNamesInMessage = 10;
// std::regex recurses a character at a time: a hostile name must not reach it.
constexpr std::size_t kLongestName = 256;

struct DTypePair {
  core::DType file;
  at::ScalarType memory;
};
constexpr DTypePair kDTypes[] = {
    {core::DType::kBool, at::kBool},     {core::DType::kU8, at::kByte},
    {core::DType::kI8, at::kChar},       {core::DType::kI16, at::kShort},
    {core::DType::kU16, at::kUInt16},    {core::DType::kF16, at::kHalf},
    {core::DType::kBF16, at::kBFloat16}, {core::DType::kI32, at::kInt},
    {core::DType::kU32, at::kUInt32},    {core::DType::kF32, at::kFloat},
    {core::DType::kI64, at::kLong},      {core::DType::kU64, at::kUInt64},
    {core::DType::kF64, at::kDouble},
};

at::ScalarType in_memory(core::DType dtype) {
  for (const DTypePair& pair : kDTypes) {
    if (pair.file == dtype) return pair.memory;
  }
  throw Error(ErrorCode::kInternal, "A safetensors type without a tensor type");
}

core::DType in_file(at::ScalarType dtype) {
  for (const DTypePair& pair : kDTypes) {
    if (pair.memory == dtype) return pair.file;
  }
  throw Error(ErrorCode::kInternal, "A tensor type that safetensors cannot hold");
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

// "; missing: a, b and 3 more", or nothing.
std::string clause(std::string_view title, const std::vector<std::string>& names) {
  if (names.empty()) return {};
  std::string text = "; " + std::string(title) + ": ";
  const std::size_t shown = std::min(names.size(), kNamesInMessage);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? "" : ", ") + names[i].substr(0, kLongestName);
  }
  if (names.size() > shown) text += " and " + std::to_string(names.size() - shown) + " more";
  return text;
}

std::map<std::string, at::Tensor, std::less<>> tensors_of(const torch::nn::Module& module) {
  std::map<std::string, at::Tensor, std::less<>> tensors;
  for (const auto& parameter : module.named_parameters()) {
    tensors.emplace(parameter.key(), parameter.value());
  }
  for (const auto& buffer : module.named_buffers()) tensors.emplace(buffer.key(), buffer.value());
  return tensors;
}

// Slices of one weight on their way to being one.
struct Parts {
  std::vector<at::Tensor> slices;
  std::vector<std::string> published_names;
};

at::Tensor copied(const core::TensorView& view) {
  at::Tensor tensor = at::empty(view.shape, at::dtype(in_memory(view.dtype)));
  if (!view.data.empty()) std::memcpy(tensor.data_ptr(), view.data.data(), view.data.size());
  return tensor.is_floating_point() ? tensor.to(at::kFloat) : tensor;
}

template <typename T>
bool is_aligned(const std::byte* data) {
  return reinterpret_cast<std::uintptr_t>(data) % alignof(T) == 0;
}

at::Tensor join(const std::string& name, const Parts& parts, std::string_view source) {
  for (std::size_t i = 0; i < parts.slices.size(); ++i) {
    if (!parts.slices[i].defined()) {
      throw Error(ErrorCode::kInvalidBundle,
                  std::string(source) + ": part " + std::to_string(i + 1) + " of " +
                      std::to_string(parts.slices.size()) + " of " + name + " is missing");
    }
    const auto& first = parts.slices.front();
    const auto& slice = parts.slices[i];
    if (slice.dim() == 0 || slice.dim() != first.dim() ||
        slice.sizes().slice(1) != first.sizes().slice(1)) {
      throw Error(ErrorCode::kInvalidBundle,
                  std::string(source) + ": " + parts.published_names[i] + " has shape " +
                      shape_text(slice.sizes()) + ", which does not fit beside " +
                      parts.published_names.front() + " " + shape_text(first.sizes()));
    }
  }
  return parts.slices.size() == 1 ? parts.slices.front() : at::cat(parts.slices, 0);
}

}  // namespace

StateDict read_state_dict(const core::Safetensors& file) {
  const c10::NoGradGuard no_grad;
  StateDict weights;
  for (const auto& [name, view] : file.tensors()) weights.emplace(name, copied(view));
  return weights;
}

StateDict map_state_dict(const core::Safetensors& file) {
  const c10::NoGradGuard no_grad;
  StateDict weights;
  for (const auto& [name, view] : file.tensors()) {
    const bool in_place = file.mapping() != nullptr && view.dtype == core::DType::kF32 &&
                          !view.data.empty() && is_aligned<float>(view.data.data());
    if (!in_place) {
      weights.emplace(name, copied(view));
      continue;
    }
    // A tensor knows no constant memory.
    void* data = const_cast<std::byte*>(view.data.data());
    weights.emplace(name,
                    at::from_blob(data, view.shape,
                                  [mapping = file.mapping()](void*) mutable { mapping.reset(); }));
  }
  return weights;
}

void write_state_dict(const std::filesystem::path& path, const StateDict& weights,
                      core::DType stored_as,
                      const std::map<std::string, std::string, std::less<>>& metadata) {
  if (stored_as != core::DType::kF32 && stored_as != core::DType::kBF16) {
    throw Error(ErrorCode::kInvalidArgument, "Weights are stored as F32 or BF16, not as " +
                                                 std::string(core::name_of(stored_as)));
  }
  const c10::NoGradGuard no_grad;
  std::map<std::string, core::TensorView, std::less<>> views;
  std::vector<at::Tensor> keep_alive;
  for (const auto& [name, weight] : weights) {
    at::Tensor stored = weight.detach().cpu();
    if (stored.is_floating_point()) stored = stored.to(in_memory(stored_as));
    keep_alive.push_back(stored.contiguous());
    const at::Tensor& kept = keep_alive.back();
    views.emplace(
        name, core::TensorView{
                  in_file(kept.scalar_type()), kept.sizes().vec(),
                  std::span(static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes())});
  }
  core::write_safetensors(path, views, metadata);
}

at::Device device_of(const torch::nn::Module& module) {
  const std::vector<at::Tensor> parameters = module.parameters();
  return parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
}

StateDict state_dict_of(const torch::nn::Module& module) {
  StateDict weights;
  for (const auto& [name, tensor] : tensors_of(module)) {
    weights.emplace(name, tensor.detach().contiguous());
  }
  return weights;
}

StateDict rename(const StateDict& weights, std::span<const NameRule> rules,
                 std::string_view source) {
  std::vector<std::regex> patterns;
  patterns.reserve(rules.size());
  for (const NameRule& rule : rules) {
    patterns.emplace_back(rule.pattern.begin(), rule.pattern.end(), std::regex::optimize);
  }
  std::map<std::string, Parts> gathered;
  std::vector<std::string> unknown;
  for (const auto& [name, weight] : weights) {
    std::smatch match;
    std::size_t i = name.size() > kLongestName ? rules.size() : 0;
    while (i < rules.size() && !std::regex_match(name, match, patterns[i])) ++i;
    if (i == rules.size()) {
      unknown.push_back(name);
      continue;
    }
    const NameRule& rule = rules[i];
    if (rule.name.empty()) continue;
    const std::string ours = match.format(std::string(rule.name));
    const auto count = static_cast<std::size_t>(rule.parts);
    const auto part = static_cast<std::size_t>(rule.part);
    Parts& parts = gathered[ours];
    if (parts.slices.size() < count) {
      parts.slices.resize(count);
      parts.published_names.resize(count);
    }
    if (parts.slices[part].defined()) {
      throw Error(ErrorCode::kInvalidBundle, std::string(source) + ": " + name + " and " +
                                                 parts.published_names[part] +
                                                 " are both read as " + ours);
    }
    parts.slices[part] = weight;
    parts.published_names[part] = name;
  }
  if (!unknown.empty()) {
    throw Error(ErrorCode::kInvalidBundle, std::string(source) +
                                               ": not a checkpoint of this kind of model" +
                                               clause("unknown weights", unknown));
  }
  const c10::NoGradGuard no_grad;
  StateDict renamed;
  for (const auto& [name, parts] : gathered) renamed.emplace(name, join(name, parts, source));
  return renamed;
}

void load_weights(torch::nn::Module& module, const StateDict& weights, std::string_view source,
                  Holding holding) {
  const auto expected = tensors_of(module);
  std::vector<std::string> missing;
  std::vector<std::string> extra;
  std::vector<std::string> misshaped;
  for (const auto& [name, tensor] : expected) {
    const auto found = weights.find(name);
    if (found == weights.end()) {
      if (!name.ends_with("num_batches_tracked")) missing.push_back(name);
    } else if (found->second.sizes() != tensor.sizes()) {
      misshaped.push_back(name + " (expected " + shape_text(tensor.sizes()) + ", found " +
                          shape_text(found->second.sizes()) + ")");
    }
  }
  for (const auto& [name, tensor] : weights) {
    if (!expected.contains(name)) extra.push_back(name);
  }
  if (!missing.empty() || !extra.empty() || !misshaped.empty()) {
    throw Error(ErrorCode::kInvalidBundle, std::string(source) +
                                               ": the weights do not fit the configured model" +
                                               clause("missing", missing) + clause("extra", extra) +
                                               clause("wrong shape", misshaped));
  }
  const c10::NoGradGuard no_grad;
  for (const auto& [name, weight] : weights) {
    at::Tensor target = expected.find(name)->second;
    if (holding == Holding::kShared && target.scalar_type() == weight.scalar_type())
      target.set_data(weight);
    else
      target.copy_(weight);
  }
}

}  // namespace bifocal::nn
