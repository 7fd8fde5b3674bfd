// One encoder of ours on one thread, for bench/compare.py.
//
//   bench_encoder vision|text <model directory> <input.safetensors> [fp32|bf16|int8]
//   bench_encoder fusion <preset> <input.safetensors> [fp32|bf16|int8]
//   bench_encoder item <bundle> <input.safetensors> [fp32|bf16|int8]
//
// The input holds "pixels" [B, 3, H, W]; or "ids" [B, L]; or "vision" [B, h * w, C] and "text"
// [B, L, H]; or "jpeg" and "caption", the bytes of a file and of a sentence. Each line of standard
// input asks for one of
//   output FILE    the output, to FILE as safetensors -> {"kernels": name}
//   slice SECONDS  passes for so long -> {"ms": [of each pass], "cpu_ms": [what it used]}

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "bifocal/model.h"
#include "core/safetensors.h"
#include "fusion/fusion_transformer.h"
#include "nn/kernel_choice.h"
#include "nn/packed_weights.h"
#include "nn/weights.h"
#include "text/bert_checkpoint.h"
#include "vision/efficientnet_checkpoint.h"

namespace {

using namespace bifocal;

struct Encoder {
  std::function<at::Tensor()> encode;
  const nn::cpu::Kernels* kernels = nullptr;  // null: LibTorch's operators
};

// What `compile` makes, from packed weights as a bundle keeps them, which are packed first where
// there are none: memory is what a served model's is.
template <typename Compile>
auto compiled(const std::filesystem::path& directory, nn::Precision precision,
              const Compile& compile) {
  const std::filesystem::path weights = directory / "model.safetensors";
  const std::string key =
      std::to_string(std::filesystem::last_write_time(weights).time_since_epoch().count());
  const auto path = nn::PackedWeights::path_in(directory, precision);
  if (nn::PackedWeights absent(path, key); !absent.found()) {
    const nn::PackedWeights::Scope scope(absent);
    compile();
    absent.save();
  }
  nn::PackedWeights packed(path, key);
  const nn::PackedWeights::Scope scope(packed);
  return compile();
}

Encoder vision_encoder(const std::string& directory, const nn::StateDict& input,
                       nn::Precision precision) {
  auto network = compiled(directory, precision, [&] {
    return std::make_shared<vision::CompiledEfficientNet>(
        vision::load_efficientnet(directory, 0, nn::Holding::kShared)->compile(precision));
  });
  const at::Tensor pixels = input.at("pixels");
  return {[network, pixels] { return network->forward_features(pixels).pooled; },
          nn::choose_kernels(nn::unquantised(precision))};
}

Encoder text_encoder(const std::string& directory, const nn::StateDict& input,
                     nn::Precision precision) {
  const text::BertConfig config = text::read_bert_config(directory);
  auto bert = compiled(directory, precision, [&] {
    return std::make_shared<text::CompiledBert>(
        text::load_bert(directory, nn::Holding::kShared)->compile(precision));
  });
  const at::Tensor ids = input.at("ids");
  const at::Tensor valid = at::ones(ids.sizes(), at::kBool);
  return {[bert, ids, valid] { return bert->forward(ids, {}, valid); },
          nn::choose_kernels(precision, config.hidden_size, config.intermediate_size)};
}

Encoder fusion_layer(const std::string& preset, const nn::StateDict& input,
                     nn::Precision precision) {
  fusion::FusionInput both;
  both.vision_tokens = input.at("vision");
  both.vision_pooled = both.vision_tokens.mean(1);
  both.text_tokens = input.at("text");
  both.text_pooled = both.text_tokens.mean(1);
  const fusion::FusionConfig config = fusion::fusion_preset(preset);
  fusion::FusionTransformer layer(config);
  fusion::initialise(*layer, 1);
  layer->eval();
  auto compiled = std::make_shared<fusion::CompiledFusionTransformer>(layer->compile(precision));
  return {[compiled, both] { return compiled->forward(both).embedding; },
          nn::choose_kernels(precision, config.hidden_size, config.intermediate_size)};
}

// As its users call it, queues and threads between them included.
Encoder whole_model(const std::string& bundle, const nn::StateDict& input,
                    nn::Precision precision) {
  LoadOptions options;
  if (precision == nn::Precision::kBf16) options.precision = Precision::kBf16;
  if (precision == nn::Precision::kInt8) options.precision = Precision::kInt8;
  options.threads = 1;
  auto model = std::make_shared<Model>(Model::load(bundle, options));
  const at::Tensor &jpeg = input.at("jpeg"), &caption = input.at("caption");
  Item item;
  item.image.emplace(static_cast<std::size_t>(jpeg.numel()));
  std::memcpy(item.image->data(), jpeg.const_data_ptr<std::uint8_t>(), item.image->size());
  item.text.emplace(static_cast<std::size_t>(caption.numel()), ' ');
  std::memcpy(item.text->data(), caption.const_data_ptr<std::uint8_t>(), item.text->size());
  return {[model, item] { return at::tensor(model->embed(item).value().values).unsqueeze(0); },
          nn::choose_kernels(precision)};
}

Encoder make(const std::string& kind, const std::string& model, const nn::StateDict& input,
             nn::Precision precision) {
  if (kind == "vision") return vision_encoder(model, input, precision);
  if (kind == "text") return text_encoder(model, input, precision);
  if (kind == "fusion") return fusion_layer(model, input, precision);
  if (kind == "item") return whole_model(model, input, precision);
  throw std::runtime_error("no kind is called " + kind);
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

nlohmann::json slice(const Encoder& encoder, double seconds) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> wall, cpu;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    const auto began = Clock::now();
    const double used = cpu_seconds();
    encoder.encode();
    cpu.push_back(1e3 * (cpu_seconds() - used));
    wall.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
  }
  return {{"ms", wall}, {"cpu_ms", cpu}};
}

void serve(const Encoder& encoder) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, argument;
    words >> what >> argument;
    if (what == "output") {
      nn::write_state_dict(argument, {{"output", encoder.encode()}}, core::DType::kF32);
      std::cout << nlohmann::json{
          {"kernels", encoder.kernels == nullptr ? "torch" : encoder.kernels->name}};
    } else if (what == "slice") {
      std::cout << slice(encoder, std::stod(argument));
    } else {
      throw std::runtime_error("what is \"" + line + "\"?");
    }
    std::cout << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4 && argc != 5) {
    std::fputs(
        "usage: bench_encoder vision|text|fusion|item <model> <input.safetensors> "
        "[fp32|bf16|int8]\n",
        stderr);
    return 2;
  }
  at::set_num_threads(1);
  const c10::InferenceMode inference;
  nn::Precision precision = nn::Precision::kFp32;
  for (const nn::Precision each : nn::kPrecisions)
    if (argc == 5 && argv[4] == nn::name_of(each)) precision = each;
  const nn::StateDict input = nn::read_state_dict(core::Safetensors::open(argv[3]));
  serve(make(argv[1], argv[2], input, precision));
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_encoder: %s\n", error.what());
  return 1;
}
