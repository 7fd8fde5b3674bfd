#include "text/wordpiece_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

constexpr std::int64_t kMaxId = 0x7FFFFFFF;
constexpr std::size_t kMaxAddedTokenBytes = 1024;

[[noreturn]] void unsupported(const core::JsonConfig& config, std::string_view what) {
  throw Error(ErrorCode::kUnsupported, config.source() + ": " + std::string(what));
}

std::string type_of(const core::JsonConfig& part) { return part.string_or("type", ""); }

BertNormalization read_normalizer(const core::JsonConfig& tokenizer) {
  if (!tokenizer.has("normalizer")) return {false, false, false, false};
  const core::JsonConfig part = tokenizer.child("normalizer");
  if (type_of(part) != "BertNormalizer")
    unsupported(part, "the normalizer \"" + type_of(part) +
                          "\" is not read, only BertNormalizer; use the publisher's vocab.txt "
                          "with tokenizer_config.json if there is one");
  BertNormalization normalization;
  normalization.clean_text = part.boolean_or("clean_text", true);
  normalization.handle_chinese_chars = part.boolean_or("handle_chinese_chars", true);
  normalization.lowercase = part.boolean_or("lowercase", true);
  normalization.strip_accents = part.boolean_or("strip_accents", normalization.lowercase);
  return normalization;
}

void check_pre_tokenizer(const core::JsonConfig& tokenizer) {
  const core::JsonConfig part = tokenizer.child("pre_tokenizer");
  if (type_of(part) != "BertPreTokenizer")
    unsupported(part,
                "the pre_tokenizer \"" + type_of(part) + "\" is not read, only BertPreTokenizer");
}

AddedToken read_added_token(const core::JsonConfig& token, bool special_otherwise) {
  AddedToken added;
  added.content = token.string("content");
  if (added.content.empty() || added.content.size() > kMaxAddedTokenBytes)
    throw token.wrong("content", "an added token has from 1 to " +
                                     std::to_string(kMaxAddedTokenBytes) + " bytes");
  added.special = token.boolean_or("special", special_otherwise);
  added.single_word = token.boolean_or("single_word", false);
  added.lstrip = token.boolean_or("lstrip", false);
  added.rstrip = token.boolean_or("rstrip", false);
  added.normalized = token.boolean_or("normalized", !added.special);
  return added;
}

PieceIds read_vocabulary(const core::JsonConfig& model) {
  const core::JsonConfig vocabulary = model.child("vocab");
  PieceIds ids;
  std::unordered_set<std::int64_t> seen;
  seen.reserve(vocabulary.json().size());
  ids.reserve(vocabulary.json().size());
  for (const auto& [piece, value] : vocabulary.json().items()) {
    const std::int64_t id = vocabulary.integer(piece, 0, kMaxId);
    if (!seen.insert(id).second)
      throw vocabulary.wrong(piece, "has the id " + std::to_string(id) + " of another piece");
    ids.emplace(piece, id);
  }
  return ids;
}

using Ids = std::vector<std::int64_t>;

// One of the two sequences of a TemplateProcessing, as specials around A (and B).
struct Template {
  std::vector<Ids> parts{Ids{}};  // specials before, between and after the texts
  std::vector<std::int64_t> text_types;
};

Template read_template(const core::JsonConfig& processor, const std::string& key) {
  Template read;
  for (const core::JsonConfig& step : processor.children(key)) {
    if (step.has("Sequence")) {
      const core::JsonConfig sequence = step.child("Sequence");
      const std::string expected = read.text_types.empty() ? "A" : "B";
      if (sequence.string("id") != expected)
        unsupported(processor, key + " does not take its texts in order");
      read.text_types.push_back(sequence.integer_or("type_id", 0, 0, 1));
      read.parts.emplace_back();
      continue;
    }
    const core::JsonConfig special = step.child("SpecialToken");
    const std::string name = special.string("id");
    const core::JsonConfig known = processor.child("special_tokens").child(name);
    const auto ids = known.numbers("ids");
    for (const double id : ids) {
      if (!(id >= 0 && id <= static_cast<double>(kMaxId)))
        throw known.wrong("ids", "expected ids of pieces");
      read.parts.back().push_back(static_cast<std::int64_t>(id));
    }
    const std::int64_t type = special.integer_or("type_id", 0, 0, 1);
    // A special has the type of the text that it closes; only the last of a pair may be 1.
    const std::int64_t expected = read.text_types.empty() ? 0 : read.text_types.back();
    if (type != expected) unsupported(processor, key + " gives " + name + " a type of its own");
  }
  return read;
}

SpecialTokens read_template_processing(const core::JsonConfig& processor) {
  const Template single = read_template(processor, "single");
  const Template pair = read_template(processor, "pair");
  if (single.parts.size() != 2 || pair.parts.size() != 3)
    throw processor.wrong("single", "expected one text there and two in pair");
  if (single.parts[0] != pair.parts[0] || single.parts[1] != pair.parts[2])
    unsupported(processor, "one text and a pair begin or end with different special tokens");
  if (single.text_types[0] != 0 || pair.text_types[0] != 0)
    unsupported(processor, "the first text has a type other than 0");
  return {pair.parts[0], pair.parts[1], pair.parts[2], pair.text_types[1] == 1};
}

std::int64_t read_token_with_id(const core::JsonConfig& processor, const std::string& key) {
  const auto found = processor.json().find(key);
  const bool fits = found != processor.json().end() && found->is_array() && found->size() == 2 &&
                    (*found)[1].is_number_unsigned() &&
                    (*found)[1].get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxId);
  if (!fits) throw processor.wrong(key, "expected a token with its id");
  return (*found)[1].get<std::int64_t>();
}

SpecialTokens read_post_processor(const core::JsonConfig& tokenizer) {
  if (!tokenizer.has("post_processor")) return {};
  const core::JsonConfig part = tokenizer.child("post_processor");
  if (type_of(part) == "TemplateProcessing") return read_template_processing(part);
  if (type_of(part) == "BertProcessing") {
    const std::int64_t cls = read_token_with_id(part, "cls"), sep = read_token_with_id(part, "sep");
    return {{cls}, {sep}, {sep}, true};
  }
  unsupported(part, "the post_processor \"" + type_of(part) +
                        "\" is not read, only TemplateProcessing and BertProcessing");
}

void read_decoder(const core::JsonConfig& tokenizer, WordPieceConfig& config) {
  config.joins_pieces = config.cleans_decoded = false;
  if (!tokenizer.has("decoder")) return;
  const core::JsonConfig part = tokenizer.child("decoder");
  if (type_of(part) != "WordPiece")
    unsupported(part, "the decoder \"" + type_of(part) + "\" is not read, only WordPiece");
  config.joins_pieces = true;
  config.cleans_decoded = part.boolean_or("cleanup", true);
}

const AddedToken* find_added(const WordPieceConfig& config, std::string_view content) {
  const auto found =
      std::find_if(config.added_tokens.begin(), config.added_tokens.end(),
                   [content](const AddedToken& token) { return token.content == content; });
  return found == config.added_tokens.end() ? nullptr : &*found;
}

std::optional<std::int64_t> find_id(const WordPieceConfig& config, std::string_view content) {
  if (const AddedToken* added = find_added(config, content)) return added->id;
  const auto found = config.vocabulary.find(content);
  return found == config.vocabulary.end() ? std::nullopt : std::optional(found->second);
}

// Every id that is put around a text must be some piece's.
void check_specials(const WordPieceConfig& config, const core::JsonConfig& tokenizer) {
  std::unordered_set<std::int64_t> known;
  known.reserve(config.vocabulary.size());
  for (const auto& [piece, id] : config.vocabulary) known.insert(id);
  for (const AddedToken& token : config.added_tokens) known.insert(token.id);
  for (const Ids* ids : {&config.specials.first, &config.specials.between, &config.specials.last})
    for (const std::int64_t id : *ids)
      if (!known.contains(id))
        throw tokenizer.wrong("post_processor",
                              "no piece has the id " + std::to_string(id) + " of a special token");
}

// tokenizer_config.json writes a token as a string or as an added token.
std::string token_named(const core::JsonConfig& settings, const std::string& key,
                        std::string otherwise) {
  if (!settings.has(key)) return otherwise;
  return settings.json().at(key).is_object() ? settings.child(key).string("content")
                                             : settings.string(key);
}

void read_added_tokens_decoder(const core::JsonConfig& settings, WordPieceConfig& config) {
  if (!settings.has("added_tokens_decoder")) return;
  const core::JsonConfig by_id = settings.child("added_tokens_decoder");
  for (const auto& [key, ignored] : by_id.json().items()) {
    AddedToken token = read_added_token(by_id.child(key), false);
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc{} || end != key.data() + key.size() || token.id < 0 || token.id > kMaxId)
      throw by_id.wrong(key, "expected the id of a token");
    if (const auto known = config.vocabulary.find(token.content); known != config.vocabulary.end())
      token.id = known->second;
    config.added_tokens.push_back(std::move(token));
  }
}

void read_additional_tokens(const core::JsonConfig& settings, WordPieceConfig& config) {
  if (!settings.has("additional_special_tokens")) return;
  const nlohmann::json& listed = settings.json().at("additional_special_tokens");
  if (!listed.is_array())
    throw settings.wrong("additional_special_tokens", "expected an array of tokens");
  for (const nlohmann::json& entry : listed) {
    AddedToken token;
    if (entry.is_object())
      token = read_added_token(core::JsonConfig(entry, settings.source()), true);
    else if (entry.is_string())
      token.content = entry.get<std::string>();
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes)
      throw settings.wrong("additional_special_tokens", "expected tokens of 1 to 1024 bytes");
    if (find_added(config, token.content) != nullptr) continue;
    const auto id = find_id(config, token.content);
    if (!id)
      throw settings.wrong("additional_special_tokens",
                           "\"" + token.content + "\" is not in the vocabulary");
    token.id = *id;
    config.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

std::string model_type_of(const core::JsonConfig& tokenizer) {
  const core::JsonConfig model = tokenizer.child("model");
  if (model.has("type")) return model.string("type");
  if (model.has("merges")) return "BPE";
  return model.has("continuing_subword_prefix") ? "WordPiece" : "";
}

WordPieceConfig WordPieceConfig::from_tokenizer_json(const core::JsonConfig& tokenizer) {
  const std::string type = model_type_of(tokenizer);
  if (type != "WordPiece")
    unsupported(tokenizer, "holds a model of type \"" + type +
                               "\", and only WordPiece is read from this file; put the "
                               "publisher's SentencePiece model (*.model) beside it");
  WordPieceConfig config;
  const core::JsonConfig model = tokenizer.child("model");
  config.vocabulary = read_vocabulary(model);
  config.unk_token = model.string_or("unk_token", config.unk_token);
  config.continuing_subword_prefix =
      model.string_or("continuing_subword_prefix", config.continuing_subword_prefix);
  config.max_input_chars_per_word =
      static_cast<std::size_t>(model.integer_or("max_input_chars_per_word", 100, 0, kMaxId));
  config.normalization = read_normalizer(tokenizer);
  check_pre_tokenizer(tokenizer);
  if (tokenizer.has("added_tokens"))
    for (const core::JsonConfig& token : tokenizer.children("added_tokens")) {
      AddedToken added = read_added_token(token, false);
      added.id = token.integer("id", 0, kMaxId);
      const auto known = config.vocabulary.find(added.content);
      if (known != config.vocabulary.end()) added.id = known->second;
      config.added_tokens.push_back(std::move(added));
    }
  config.specials = read_post_processor(tokenizer);
  check_specials(config, tokenizer);
  read_decoder(tokenizer, config);
  if (tokenizer.has("padding"))
    config.pad_id = tokenizer.child("padding").integer_or("pad_id", 0, 0, kMaxId);
  else
    config.pad_id = find_id(config, "[PAD]").value_or(0);
  return config;
}

WordPieceConfig WordPieceConfig::from_vocabulary(std::string_view lines, const std::string& source,
                                                 const core::JsonConfig& settings) {
  WordPieceConfig config;
  if (const auto at = find_invalid_utf8(lines))
    throw Error(ErrorCode::kInvalidBundle,
                source + ": is not valid UTF-8 at byte " + std::to_string(*at));
  std::int64_t id = 0;
  for (std::size_t begin = 0; begin < lines.size(); ++id) {
    const std::size_t end = std::min(lines.find('\n', begin), lines.size());
    std::string_view piece = lines.substr(begin, end - begin);
    if (piece.ends_with('\r')) piece.remove_suffix(1);
    if (!piece.empty() && !config.vocabulary.emplace(piece, id).second)
      throw Error(ErrorCode::kInvalidBundle, source + ": line " + std::to_string(id + 1) +
                                                 " repeats the piece \"" + std::string(piece) +
                                                 "\"");
    begin = end + 1;
  }

  config.normalization.lowercase = settings.boolean_or("do_lower_case", true);
  config.normalization.strip_accents =
      settings.boolean_or("strip_accents", config.normalization.lowercase);
  config.normalization.handle_chinese_chars = settings.boolean_or("tokenize_chinese_chars", true);

  read_added_tokens_decoder(settings, config);
  read_additional_tokens(settings, config);
  const auto named = [&](const std::string& key, const char* otherwise, bool required) {
    const std::string name = token_named(settings, key, otherwise);
    const auto found = find_id(config, name);
    if (!found && required)
      throw Error(ErrorCode::kInvalidBundle, source + ": has no \"" + name + "\", which is the " +
                                                 key +
                                                 "; name the right one in tokenizer_config.json");
    if (found && find_added(config, name) == nullptr)
      config.added_tokens.push_back({.content = name, .id = *found});
    return found.value_or(0);
  };
  config.unk_token = token_named(settings, "unk_token", "[UNK]");
  named("unk_token", "[UNK]", true);
  const std::int64_t cls = named("cls_token", "[CLS]", true);
  const std::int64_t sep = named("sep_token", "[SEP]", true);
  config.pad_id = named("pad_token", "[PAD]", false);
  named("mask_token", "[MASK]", false);
  config.specials = {{cls}, {sep}, {sep}, true};
  return config;
}

}  // namespace bifocal::text
