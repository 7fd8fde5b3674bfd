#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>

#include "bifocal/error.h"
#include "training/train_config.h"

namespace bifocal::training {
namespace {

using C = TrainConfig;
using Json = nlohmann::json;

[[noreturn]] void refuse(const Json& value, const std::string& takes) {
  throw Error(ErrorCode::kInvalidArgument, "is " + value.dump() + "; it takes " + takes);
}

std::string text_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

template <typename T>
TrainConfigKey key(const char* name, const char* group, T C::*field, Json schema,
                   const char* meaning) {
  TrainConfigKey row{name, group, meaning, std::move(schema), {}, {}};
  row.get = [field](const C& config) { return Json(config.*field); };
  return row;
}

TrainConfigKey whole(const char* name, const char* group, std::int64_t C::*field, std::int64_t low,
                     std::int64_t high, const char* meaning) {
  TrainConfigKey row =
      key(name, group, field, {{"type", "integer"}, {"minimum", low}, {"maximum", high}}, meaning);
  row.set = [=, takes = row.takes()](C& config, const Json& value) {
    if (!value.is_number_integer() || value < low || value > high) refuse(value, takes);
    config.*field = value.get<std::int64_t>();
  };
  return row;
}

TrainConfigKey number(const char* name, const char* group, double C::*field, double low,
                      double high, const char* meaning) {
  TrainConfigKey row =
      key(name, group, field, {{"type", "number"}, {"minimum", low}, {"maximum", high}}, meaning);
  row.set = [=, takes = row.takes()](C& config, const Json& value) {
    if (!value.is_number() || !(value >= low && value <= high)) refuse(value, takes);
    config.*field = value.get<double>();
  };
  return row;
}

TrainConfigKey text(const char* name, const char* group, std::string C::*field,
                    const char* meaning) {
  TrainConfigKey row = key(name, group, field, {{"type", "string"}}, meaning);
  row.set = [=, takes = row.takes()](C& config, const Json& value) {
    if (!value.is_string()) refuse(value, takes);
    config.*field = value.get<std::string>();
  };
  return row;
}

TrainConfigKey word(const char* name, const char* group, std::string C::*field,
                    const std::vector<std::string>& words, const char* meaning) {
  TrainConfigKey row = key(name, group, field, {{"type", "string"}, {"enum", words}}, meaning);
  row.set = [=, takes = row.takes()](C& config, const Json& value) {
    if (!value.is_string() || std::find(words.begin(), words.end(), value) == words.end())
      refuse(value, takes);
    config.*field = value.get<std::string>();
  };
  return row;
}

TrainConfigKey yes_or_no(const char* name, const char* group, bool C::*field, const char* meaning) {
  TrainConfigKey row = key(name, group, field, {{"type", "boolean"}}, meaning);
  row.set = [=, takes = row.takes()](C& config, const Json& value) {
    if (!value.is_boolean()) refuse(value, takes);
    config.*field = value.get<bool>();
  };
  return row;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const TrainPreset& preset : train_presets()) names.emplace_back(preset.name);
  return names;
}

std::vector<TrainConfigKey> make_keys() {
  constexpr std::int64_t kMany = 1'000'000'000;
  constexpr std::int64_t kSize = 65536;
  return {
      word("preset", "What", &C::preset, preset_names(),
           "What is trained, and the defaults for it"),

      text("data", "Data", &C::data, "What to train on: JSONL, CSV, a tar or a directory"),
      text("validation", "Data", &C::validation,
           "What to choose the best weights by, likewise; empty: a part of `data`"),
      number("validation_share", "Data", &C::validation_share, 0, 0.9,
             "Where there is no validation set: the share of `data` that becomes one"),
      text("images", "Data", &C::images,
           "Where the images of a table are: a tar or a directory; empty: beside it"),

      text("from_bundle", "Model", &C::from_bundle,
           "A bundle to begin with, in place of vision and text; of the fusion layer too where "
           "classes are trained"),
      text("vision", "Model", &C::vision,
           "Vision encoder: a directory with config.json and model.safetensors"),
      text("text", "Model", &C::text, "Text encoder: likewise, with the tokenizer's files"),
      text("preprocessor", "Model", &C::preprocessor,
           "A preprocessor_config.json in place of the vision encoder's own"),

      text("out", "Output", &C::out, "The bundle to make"),
      text("name", "Output", &C::name, "Its name; empty: that of the directory"),
      text("run", "Output", &C::run,
           "Checkpoints, metrics and log of the run; empty: OUT.training"),
      text("cache", "Output", &C::cache,
           "What frozen encoders gave, to be used again; empty: RUN/cache"),

      whole("seed", "Run", &C::seed, 0, std::int64_t{1} << 53,
            "What every random number is drawn from"),
      whole("seeds", "Run", &C::seeds, 1, 1000,
            "So many runs, from `seed` upwards; the best is kept, mean and deviation are reported"),
      whole("threads", "Run", &C::threads, 0, 1024, "Threads to train with; 0: one a core"),
      text("device", "Run", &C::device,
           "What to train on: cpu, or cuda or cuda:N with a LibTorch that has it"),
      word("bf16", "Run", &C::bf16, {"auto", "on", "off"},
           "Matrix products in bfloat16, weights in float32; auto: where that is faster on this "
           "CPU, and not on another device"),
      whole("checkpoint_every", "Run", &C::checkpoint_every, 0, kMany,
            "Steps between checkpoints; 0: at the end and on Ctrl-C alone"),
      whole("log_every", "Run", &C::log_every, 1, kMany, "Steps between lines of metrics.jsonl"),

      whole("epochs", "Optimiser", &C::epochs, 1, 100'000, "Passes over the data"),
      whole("batch_size", "Optimiser", &C::batch_size, 1, 1'000'000, "Samples of one forward pass"),
      whole("accumulation", "Optimiser", &C::accumulation, 1, 10'000,
            "Forward passes whose gradients make one step"),
      number("learning_rate", "Optimiser", &C::learning_rate, 0, 10,
             "Peak rate of what starts afresh: fusion layer, new heads"),
      number("weight_decay", "Optimiser", &C::weight_decay, 0, 10,
             "AdamW's, of matrices and filters; norms, biases and vectors have none"),
      number("beta1", "Optimiser", &C::beta1, 0, 0.9999, "AdamW's decay of the first moment"),
      number("beta2", "Optimiser", &C::beta2, 0, 0.999999, "AdamW's decay of the second moment"),
      number("warm_up", "Optimiser", &C::warm_up, 0, 1, "Share of the steps in which rates rise"),
      number("final_rate", "Optimiser", &C::final_rate, 0, 1,
             "Where the cosine ends, as a share of the peak"),
      number("clip_norm", "Optimiser", &C::clip_norm, 0, 1e6,
             "Largest global norm of a gradient; 0: no clipping"),
      number("average_decay", "Optimiser", &C::average_decay, 0, 0.99999,
             "Of the moving average of weights, which is what is kept; 0: none"),
      number("dropout", "Optimiser", &C::dropout, 0, 0.95,
             "Share of activations dropped in new layers"),
      whole("evaluate_every", "Optimiser", &C::evaluate_every, 1, kMany,
            "Epochs between looks at the validation set"),
      whole("patience", "Optimiser", &C::patience, 0, kMany,
            "Looks without gain before stopping; 0: never"),
      number("divergence_factor", "Optimiser", &C::divergence_factor, 0, 1e9,
             "Stop where the smoothed loss is so many times its least; 0: never"),

      whole(
          "pooled_epochs", "Stage 1, on frozen features", &C::pooled_epochs, 0, 100'000,
          "Passes that train pooled heads or class heads alone, on what the frozen encoders gave"),
      whole("pooled_batch_size", "Stage 1, on frozen features", &C::pooled_batch_size, 2, 1'000'000,
            "Samples of a batch; of pairs, each is the others' negative"),
      number("pooled_learning_rate", "Stage 1, on frozen features", &C::pooled_learning_rate, 0, 10,
             "Peak rate"),
      number("pooled_weight_decay", "Stage 1, on frozen features", &C::pooled_weight_decay, 0, 10,
             "As weight_decay"),
      number("pooled_average_decay", "Stage 1, on frozen features", &C::pooled_average_decay, 0,
             0.99999, "As average_decay"),
      number("pooled_dropout", "Stage 1, on frozen features", &C::pooled_dropout, 0, 0.95,
             "Dropout of the pooled heads, in both stages"),

      number("heads_learning_rate", "Retrieval", &C::heads_learning_rate, 0, 10,
             "Peak rate of the pooled heads"),
      number("gains_learning_rate", "Retrieval", &C::gains_learning_rate, 0, 10,
             "Peak rate of single numbers: gains, mixing weights, scales"),
      whole("text_layers", "Retrieval", &C::text_layers, 0, 256,
            "Top layers of the text encoder that are trained along"),
      number("text_learning_rate", "Retrieval", &C::text_learning_rate, 0, 10,
             "Peak rate of the topmost of them"),
      number("text_layer_decay", "Retrieval", &C::text_layer_decay, 0, 1,
             "What each layer below has of the rate above"),
      whole("vision_stages", "Retrieval", &C::vision_stages, 0, 64,
            "Top stages of the vision encoder that are trained along with its head, in contrasts "
            "too, by the rates of fine-tuning; 0: none"),
      whole("max_text_tokens", "Retrieval", &C::max_text_tokens, 4, 512,
            "Tokens of a caption in training, special ones included"),
      whole("visual_tokens", "Retrieval", &C::visual_tokens, 1, 100'000,
            "Visual tokens kept in training, drawn anew each time; more than there are: all"),
      number("caption_weight", "Retrieval", &C::caption_weight, 0, 100,
             "Of the loss between two captions of one image"),
      number("fused_weight", "Retrieval", &C::fused_weight, 0, 100,
             "Of the loss of image and caption together against the other caption; half of it "
             "against the image"),
      number("match_weight", "Retrieval", &C::match_weight, 0, 100,
             "Of the loss of the match head"),
      number("ranking_weight", "Retrieval", &C::ranking_weight, 0, 100,
             "Within that, of the true pair above its false ones"),
      number(
          "late_weight", "Retrieval", &C::late_weight, 0, 100,
          "Of the contrastive loss of what the match logit is without its head; above 0 that has "
          "a late interaction of tokens beside the cosine"),
      number("contrast_weight", "Retrieval", &C::contrast_weight, 0, 100,
             "Of the double differences of the contrasts that the records bring (edited captions)"),
      whole("match_pairs", "Retrieval", &C::match_pairs, 1, 1'000'000,
            "True pairs of a batch that the match head sees"),
      text("teacher", "Retrieval", &C::teacher,
           "A bundle, or several with commas between them, whose distributions over a batch's "
           "captions and images are learned from beside the labels; empty: none"),
      number("teacher_weight", "Retrieval", &C::teacher_weight, 0, 100,
             "Of the divergence from the teacher, wherever images are contrasted with captions"),
      number("teacher_temperature", "Retrieval", &C::teacher_temperature, 0.01, 100,
             "By which the teacher's logits are divided: above 1 the less likely count more"),

      text("label_set", "Classes", &C::label_set, "The name of the label set in the bundle"),
      whole("head_hidden_size", "Classes", &C::head_hidden_size, 0, kSize,
            "Hidden size of the class head; 0: a linear one"),
      word("class_weights", "Classes", &C::class_weights, {"none", "balanced"},
           "Of the loss, by class; balanced: rare classes count as much as frequent ones"),
      number("label_smoothing", "Classes", &C::label_smoothing, 0, 0.9,
             "Share of a target that is spread over all classes"),
      number("modality_dropout", "Classes", &C::modality_dropout, 0, 1,
             "How often a record with image and text is shown one of them alone"),
      number("token_dropout", "Classes", &C::token_dropout, 0, 0.9,
             "Share of a text's tokens that is left out in training"),
      yes_or_no("through_fusion", "Classes", &C::through_fusion,
                "Of classify, where records have both sides: train the fusion layer too, and keep "
                "it where the metric gains"),
      text("metric", "Classes", &C::metric,
           "What the best weights are chosen by and patience looks at, such as accuracy, macro_f1, "
           "loss, accuracy_image; empty: accuracy, or mean_average_precision of several labels"),

      number("backbone_learning_rate", "Fine-tuning", &C::backbone_learning_rate, 0, 10,
             "Peak rate of what comes trained: the top block of the vision encoder, or a bundle's "
             "fusion layer"),
      number("layer_decay", "Fine-tuning", &C::layer_decay, 0, 1,
             "What each block below has of the rate above"),
      whole("frozen_stages", "Fine-tuning", &C::frozen_stages, 0, 64,
            "Lowest stages that stay as they are, with the stem"),
      word("batch_norm", "Fine-tuning", &C::batch_norm, {"frozen", "live"},
           "Statistics of batch norms; frozen: as they come, right for small batches"),
      number("drop_connect", "Fine-tuning", &C::drop_connect, 0, 0.9,
             "Probability of dropping the topmost block's branch; it falls to 0 at the lowest"),
      number("mixup", "Fine-tuning", &C::mixup, 0, 100, "Alpha of mixup; 0: none"),
      number("cutmix", "Fine-tuning", &C::cutmix, 0, 100,
             "Alpha of CutMix; 0: none; with mixup, each half of the batches"),

      whole("augmented_views", "Augmentation", &C::augmented_views, 0, 64,
            "Views of each picture that frozen features are kept of, drawn by the settings below, "
            "beside the picture and its mirror image"),
      number("crop_min_area", "Augmentation", &C::crop_min_area, 0.01, 1,
             "Least area of RandomResizedCrop; 1: the whole picture, as when serving"),
      number("horizontal_flip", "Augmentation", &C::horizontal_flip, 0, 1,
             "How often a picture is mirrored; above 0, frozen features have both views"),
      number("rotation", "Augmentation", &C::rotation, 0, 180, "Most degrees, either way"),
      number("color_jitter", "Augmentation", &C::color_jitter, 0, 1,
             "Of brightness, contrast and saturation: the factor is from 1 - x to 1 + x"),
      number("hue", "Augmentation", &C::hue, 0, 0.5, "Most turns of the colour circle"),
      whole("rand_augment_ops", "Augmentation", &C::rand_augment_ops, 0, 16,
            "Operations of RandAugment; 0: none"),
      number("rand_augment_magnitude", "Augmentation", &C::rand_augment_magnitude, 0, 10,
             "Their magnitude"),
      number("random_erasing", "Augmentation", &C::random_erasing, 0, 1,
             "How often a rectangle is replaced by noise"),

      whole("align_epochs", "Contrasts", &C::align_epochs, 0, 100'000,
            "Passes that train the token projections alone, by late interaction"),
      number("align_learning_rate", "Contrasts", &C::align_learning_rate, 0, 10, "Peak rate"),
      whole("pairs_per_image", "Contrasts", &C::pairs_per_image, 1, 1000,
            "Contrasts of an image in a batch, drawn anew each time"),
      text("curriculum", "Contrasts", &C::curriculum,
           "Kinds of contrast in the order in which they join, separated by commas; the others "
           "join last; empty: all from the start"),
      number("curriculum_share", "Contrasts", &C::curriculum_share, 0, 1,
             "Share of the epochs in which kinds join"),
      yes_or_no("double_difference", "Contrasts", &C::double_difference,
                "Learn from how much more the true text gains than with another image, of which "
                "the false one holds: what the texts alone tell is not learned"),

      whole("hidden_size", "Fusion layer", &C::hidden_size, 1, kSize, "Its size d"),
      whole("embedding_size", "Fusion layer", &C::embedding_size, 1, kSize,
            "Numbers of a vector, e"),
      whole("fusion_layers", "Fusion layer", &C::fusion_layers, 1, 256, "Encoder layers"),
      whole("attention_heads", "Fusion layer", &C::attention_heads, 1, kSize, "Attention heads"),
      whole("intermediate_size", "Fusion layer", &C::intermediate_size, 1, 8 * kSize,
            "Size of the MLPs"),
      whole("detail_stage", "Fusion layer", &C::detail_stage, 0, 32,
            "Visual tokens also see the map after so many stages of the vision encoder, finer than "
            "the last: colours, shapes and edges; 0: none"),
  };
}

}  // namespace

std::string TrainConfigKey::flag() const {
  std::string written = name;
  std::replace(written.begin(), written.end(), '_', '-');
  return written;
}

std::string TrainConfigKey::takes() const {
  if (const auto words = schema.find("enum"); words != schema.end()) {
    std::string list;
    for (const Json& choice : *words)
      list += (list.empty() ? "" : ", ") + choice.get<std::string>();
    return list;
  }
  if (schema.contains("minimum"))
    return text_of(schema.at("minimum").get<double>()) + " to " +
           text_of(schema.at("maximum").get<double>());
  if (schema.at("type") == "boolean") return "true, false";
  return schema.at("type") == "array" ? "a list" : "text";
}

nlohmann::json TrainConfigKey::parse(const std::vector<std::string>& words) const {
  if (schema.at("type") == "array") return words;
  if (words.size() != 1) throw Error(ErrorCode::kInvalidArgument, "takes one value");
  if (schema.at("type") == "string") return words.front();
  Json value = Json::parse(words.front(), nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(words.front()) : value;
}

std::span<const TrainConfigKey> train_config_keys() {
  static const std::vector<TrainConfigKey> keys = make_keys();
  return keys;
}

}  // namespace bifocal::training
