#include "models/fusion_model.h"

#include <ATen/Parallel.h>
#include <malloc.h>

#include <filesystem>
#include <future>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "core/safetensors.h"
#include "fusion/fusion_transformer.h"
#include "nn/kernel_choice.h"
#include "nn/linear.h"
#include "nn/weights.h"
#include "text/bert.h"
#include "text/bert_checkpoint.h"
#include "vision/efficientnet.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::models {
namespace {

// The sizes that two parts must share, said with both of their numbers.
void check_fit(std::int64_t encoder, std::int64_t fusion, std::string_view what,
               const Bundle& bundle) {
  if (encoder == fusion) return;
  throw Error(ErrorCode::kInvalidBundle,
              bundle.directory().string() + ": the encoder gives " + std::to_string(encoder) + " " +
                  std::string(what) + " but the fusion layer takes " + std::to_string(fusion) +
                  "; join it with the encoder that it was trained on");
}

std::string text_architecture(const text::BertConfig& config) {
  return std::string(config.position_offset > 0 ? "xlm-roberta" : "bert") + "-" +
         std::to_string(config.num_hidden_layers) + "x" + std::to_string(config.hidden_size);
}

constexpr std::int64_t kCostedTokens = 16;  // a caption

fusion::FusionTransformer load_fusion(const Bundle& bundle) {
  const nn::WeightsFollow weights_follow;
  fusion::FusionTransformer fusion(bundle.fusion());
  const core::Safetensors weights = core::Safetensors::open(bundle.fusion_weights());
  nn::load_weights(*fusion, nn::map_state_dict(weights), weights.source(), nn::Holding::kShared);
  return fusion;
}

// On a thread of its own: reading, checking and converting are most of a start.
template <typename Load>
auto begun(Load load) {
  return std::async(std::launch::async, [load = std::move(load)] {
    at::set_num_threads(1);  // a setting of the thread that calls it
    return load();
  });
}

// Without kernels of integers LibTorch's operators would serve, slower than ours of float32.
nn::Precision served(nn::Precision precision) {
  const bool lacks_integers =
      precision == nn::Precision::kInt8 && nn::choose_kernels(precision) == nullptr;
  return lacks_integers ? nn::Precision::kFp32 : precision;
}

}  // namespace

vision::Preprocess read_preprocess(const std::filesystem::path& vision_directory) {
  const std::filesystem::path own = vision_directory / "preprocessor_config.json";
  // timm keeps its preprocessing in config.json.
  return vision::Preprocess::from_config(core::JsonConfig::read(
      std::filesystem::exists(own) ? own : vision_directory / "config.json"));
}

FusionModel::FusionModel(vision::EfficientNetConfig vision_config,
                         vision::CompiledEfficientNet vision, vision::Preprocess preprocess,
                         text::BertConfig text_config, text::CompiledBert text,
                         std::unique_ptr<text::Tokenizer> tokenizer,
                         fusion::FusionConfig fusion_config,
                         fusion::CompiledFusionTransformer fusion)
    : vision_config_(std::move(vision_config)),
      vision_(std::move(vision)),
      preprocess_(preprocess),
      text_config_(text_config),
      text_(std::move(text)),
      tokenizer_(std::move(tokenizer)),
      fusion_config_(std::move(fusion_config)),
      fusion_(std::move(fusion)) {}

std::shared_ptr<const FusionModel> FusionModel::load(const Bundle& bundle, nn::Precision precision,
                                                     nn::PackedWeights* packed) {
  auto model = compiled(bundle, precision, packed);
  // What it was compiled from is freed: as much as the weights take, which glibc would keep.
  ::malloc_trim(0);
  return model;
}

std::shared_ptr<const FusionModel> FusionModel::compiled(const Bundle& bundle, nn::Precision wanted,
                                                         nn::PackedWeights* packed) {
  auto text_read =
      begun([&bundle] { return text::load_bert(bundle.text_directory(), nn::Holding::kShared); });
  auto tokenizer_read = begun([&bundle] { return text::load_tokenizer(bundle.text_directory()); });
  auto fusion_read = begun([&bundle] { return load_fusion(bundle); });
  const fusion::FusionConfig& config = bundle.fusion();
  // Asked for in this order, so that of several faults the same is told each time.
  vision::EfficientNet vision = vision::load_efficientnet(
      bundle.vision_directory(), config.detail_stage, nn::Holding::kShared);
  text::Bert text = text_read.get();
  std::unique_ptr<text::Tokenizer> tokenizer = tokenizer_read.get();

  check_fit(vision->config().head_channels, config.vision_channels, "visual channels", bundle);
  check_fit(vision::detail_channels(vision->config()), config.detail_channels,
            "channels of the visual detail", bundle);
  check_fit(text->config().hidden_size, config.text_hidden_size, "text channels", bundle);
  if (tokenizer->vocab_size() > text->config().vocab_size)
    throw Error(ErrorCode::kInvalidBundle,
                bundle.text_directory().string() + ": the tokenizer has " +
                    std::to_string(tokenizer->vocab_size()) + " pieces, the encoder only " +
                    std::to_string(text->config().vocab_size) + " embeddings");

  // One after the other: what has not been timed on this CPU is, and wants it quiet.
  fusion::FusionTransformer fusion = fusion_read.get();
  std::optional<nn::PackedWeights::Scope> scope;
  if (packed != nullptr) scope.emplace(*packed);
  const nn::Precision precision = served(wanted);
  return std::shared_ptr<const FusionModel>(new FusionModel(
      vision->config(), vision->compile(precision), read_preprocess(bundle.vision_directory()),
      text->config(), text->compile(precision), std::move(tokenizer), config,
      fusion->compile(precision)));
}

vision::VisionOutput FusionModel::encode_images(const at::Tensor& pixels) const {
  return vision_.forward_features(pixels);
}

TextFeatures FusionModel::encode_texts(const at::Tensor& ids, const at::Tensor& type_ids,
                                       const at::Tensor& valid) const {
  at::Tensor tokens = text_.forward(ids, type_ids, valid);
  at::Tensor pooled = nn::pool(tokens, valid, text_config_.pooling);
  return {std::move(tokens), std::move(pooled), valid};
}

fusion::FusionOutput FusionModel::fuse(const vision::VisionOutput* images,
                                       const TextFeatures* texts) const {
  fusion::FusionInput input;
  if (images != nullptr) {
    input.vision_tokens = images->tokens;
    input.vision_pooled = images->pooled;
    input.grid_height = images->grid_height;
    input.grid_width = images->grid_width;
  }
  if (texts != nullptr) {
    input.text_tokens = texts->tokens;
    input.text_pooled = texts->pooled;
    input.text_valid = texts->valid;
  }
  return fusion_.forward(input);
}

at::Tensor FusionModel::match(const fusion::FusionOutput& both) const {
  return fusion_.match(both);
}

at::Tensor FusionModel::classify(const fusion::FusionOutput& output, std::size_t label_set) const {
  return fusion_.classify(output, label_set);
}

PartCost FusionModel::vision_cost() const {
  // Height and width may differ; the multiply-adds of a square of the same area are theirs.
  const vision::Cost square = vision::cost(vision_config_, preprocess_.height);
  return {vision_config_.name, square.parameters,
          square.multiply_adds * preprocess_.width / preprocess_.height};
}

PartCost FusionModel::text_cost() const {
  const text::TextCost cost = text::cost(text_config_, kCostedTokens);
  return {text_architecture(text_config_), cost.parameters, cost.multiply_adds};
}

PartCost FusionModel::fusion_cost() const {
  const fusion::FusionCost cost = fusion::cost(
      fusion_config_, fusion_config_.grid_height * fusion_config_.grid_width, kCostedTokens);
  return {"transformer-" + std::to_string(fusion_config_.num_hidden_layers) + "x" +
              std::to_string(fusion_config_.hidden_size),
          cost.parameters, cost.multiply_adds};
}

}  // namespace bifocal::models
