// fusion_probe fusion <config.json> <weights.safetensors> <in.safetensors> <out.safetensors>
//   One case: "vision_tokens", "vision_pooled", "grid" [2], "text_tokens", "text_pooled",
//   "text_valid", each side only where present. Writes context, embedding, vision, text, match and
//   class.N, of the module and, prefixed by "compiled.", of the compiled one.
// fusion_probe layer <config.json> <weights.safetensors> <in.safetensors> <out.safetensors>
//   One encoder layer on "x" and "valid": "all" and "first", of both forms.

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "core/json_config.h"
#include "core/safetensors.h"
#include "fusion/fusion_transformer.h"
#include "nn/encoder_layer.h"
#include "nn/weights.h"

namespace {

using bifocal::core::JsonConfig;
using bifocal::nn::StateDict;

StateDict read(const char* path) {
  return bifocal::nn::read_state_dict(bifocal::core::Safetensors::open(path));
}

at::Tensor find(const StateDict& tensors, std::string_view name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? at::Tensor() : found->second;
}

template <typename Network>
void fuse(const Network& network, const bifocal::fusion::FusionInput& input, std::size_t label_sets,
          const std::string& prefix, StateDict& results) {
  const auto output = network.forward(input);
  results[prefix + "context"] = output.context;
  results[prefix + "embedding"] = output.embedding;
  if (output.vision.defined()) results[prefix + "vision"] = output.vision;
  if (output.text.defined()) results[prefix + "text"] = output.text;
  if (input.vision_tokens.defined() && input.text_tokens.defined()) {
    results[prefix + "match"] = network.match(output);
  }
  for (std::size_t i = 0; i < label_sets; ++i) {
    results[prefix + "class." + std::to_string(i)] = network.classify(output, i);
  }
}

StateDict run_fusion(const JsonConfig& json, const StateDict& weights, const StateDict& tensors) {
  const auto config = bifocal::fusion::FusionConfig::from_config(json);
  bifocal::fusion::FusionTransformer module(config);
  bifocal::nn::load_weights(*module, weights, "weights");
  module->eval();
  bifocal::fusion::FusionInput input;
  input.vision_tokens = find(tensors, "vision_tokens");
  input.vision_pooled = find(tensors, "vision_pooled");
  input.text_tokens = find(tensors, "text_tokens");
  input.text_pooled = find(tensors, "text_pooled");
  input.text_valid = find(tensors, "text_valid");
  if (const auto grid = find(tensors, "grid"); grid.defined()) {
    input.grid_height = grid[0].item<std::int64_t>();
    input.grid_width = grid[1].item<std::int64_t>();
  }
  StateDict results;
  fuse(*module, input, config.label_sets.size(), "", results);
  fuse(module->compile(bifocal::nn::Precision::kFp32), input, config.label_sets.size(), "compiled.",
       results);
  return results;
}

StateDict run_layer(const JsonConfig& json, const StateDict& weights, const StateDict& tensors) {
  bifocal::nn::EncoderLayerConfig config;
  config.hidden_size = json.integer("hidden_size", 1, 4096);
  config.num_attention_heads = json.integer("num_attention_heads", 1, 4096);
  config.intermediate_size = json.integer("intermediate_size", 1, 65536);
  config.layer_norm_eps = json.number("layer_norm_eps");
  config.activation = bifocal::nn::activation_from_name(json.string("activation"));
  config.norm = json.string("norm") == "pre" ? bifocal::nn::NormPlacement::kPre
                                             : bifocal::nn::NormPlacement::kPost;
  bifocal::nn::EncoderLayer module(config);
  bifocal::nn::load_weights(*module, weights, "weights");
  module->eval();
  const auto compiled = module->weights().compiled(bifocal::nn::Precision::kFp32);
  const auto x = tensors.at("x");
  const auto valid = find(tensors, "valid");
  return {{"all", module->forward(x, valid)},
          {"first", module->forward_first(x, valid)},
          {"compiled.all", compiled.forward(x, valid)},
          {"compiled.first", compiled.forward_first(x, valid)}};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 6) return 2;
  const c10::InferenceMode inference;
  const auto run = std::string_view(argv[1]) == "layer" ? run_layer : run_fusion;
  bifocal::nn::write_state_dict(argv[5],
                                run(JsonConfig::read(argv[2]), read(argv[3]), read(argv[4])),
                                bifocal::core::DType::kF32);
} catch (const std::exception& error) {
  std::fprintf(stderr, "fusion_probe: %s\n", error.what());
  return 1;
}
