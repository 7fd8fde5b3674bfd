#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "nn/weights.h"
#include "text/bert.h"

namespace bifocal::text {

// Names of bert-*, MiniLM, sentence-transformers and XLM-R / RoBERTa checkpoints (with or without
// the "bert." / "roberta." / "0.auto_model." prefix; LayerNorm gamma/beta; pooler, lm head and
// position_ids ignored).
void load_bert_weights(BertImpl& module, const nn::StateDict& weights, std::string_view source,
                       nn::Holding holding = nn::Holding::kCopied);
// The way back: `weights` under our names, as those of `published_names` that they make up. How
// tuned layers are laid over the checkpoint that they come from.
nn::StateDict published_bert_weights(const nn::StateDict& weights,
                                     const std::vector<std::string>& published_names);
// config.json + model.safetensors; pooling from 1_Pooling/config.json and max_tokens from
// sentence_bert_config.json where present.
BertConfig read_bert_config(const std::filesystem::path& directory);
Bert load_bert(const std::filesystem::path& directory, nn::Holding holding = nn::Holding::kCopied);

}  // namespace bifocal::text
