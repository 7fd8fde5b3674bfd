#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/json_config.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace bifocal::text {

struct PieceHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view piece) const noexcept {
    return std::hash<std::string_view>{}(piece);
  }
};
using PieceIds = std::unordered_map<std::string, std::int64_t, PieceHash, std::equal_to<>>;

// All that a WordPiece tokenizer is made of, from either of the two forms in which it is published.
// Both readers throw Error: kInvalidBundle, or kUnsupported naming what is not read.
struct WordPieceConfig {
  PieceIds vocabulary;
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  std::size_t max_input_chars_per_word = 100;
  BertNormalization normalization;
  std::vector<AddedToken> added_tokens;
  SpecialTokens specials;
  std::int64_t pad_id = 0;
  bool joins_pieces = true;    // decode() joins "##" pieces; otherwise every piece stands apart
  bool cleans_decoded = true;  // "do n't ." becomes "don't."

  // Hugging Face `tokenizers`: model WordPiece, normalizer BertNormalizer or none, pre_tokenizer
  // BertPreTokenizer, post_processor TemplateProcessing, BertProcessing or none. Its `truncation`
  // and `padding` are left aside: who encodes says how much and how.
  static WordPieceConfig from_tokenizer_json(const core::JsonConfig& tokenizer);

  // One piece a line, the line's number its id. `settings` is tokenizer_config.json, or an empty
  // object: do_lower_case, strip_accents, tokenize_chinese_chars, {cls,sep,unk,pad,mask}_token,
  // additional_special_tokens, added_tokens_decoder.
  static WordPieceConfig from_vocabulary(std::string_view lines, const std::string& source,
                                         const core::JsonConfig& settings);
};

// What model.type of a tokenizer.json says, or what its model's members show where it says nothing.
std::string model_type_of(const core::JsonConfig& tokenizer);

}  // namespace bifocal::text
