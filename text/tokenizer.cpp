#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "text/sentencepiece.h"
#include "text/wordpiece.h"

namespace bifocal::text {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{64} << 20;

void append_specials(Encoding& encoding, std::span<const std::int64_t> ids, std::int64_t type) {
  for (const std::int64_t id : ids) {
    encoding.ids.push_back(id);
    encoding.type_ids.push_back(type);
    encoding.spans.emplace_back();
    encoding.special.push_back(true);
  }
}

// How many pieces fit beside `specials`.
std::size_t room_for_pieces(std::size_t max_tokens, std::size_t specials) {
  if (max_tokens == 0) return std::numeric_limits<std::size_t>::max();
  if (max_tokens < specials)
    throw Error(ErrorCode::kInvalidArgument, "max_tokens is " + std::to_string(max_tokens) +
                                                 ", and the special tokens alone are " +
                                                 std::to_string(specials) +
                                                 "; allow more, or leave them out");
  return max_tokens - specials;
}

// What is kept of two texts of `first` and `second` pieces: the longer gives first, and where both
// must, each keeps half, the longer the odd one.
std::pair<std::size_t, std::size_t> longest_first(std::size_t first, std::size_t second,
                                                  std::size_t room) {
  if (second <= room && first <= room - second) return {first, second};
  const std::size_t shorter = std::min(first, second);
  std::size_t keep_shorter = shorter, keep_longer = 0;
  if (shorter > room / 2) {
    keep_shorter = room / 2;
    keep_longer = room - keep_shorter;
  } else {
    keep_longer = room - shorter;
  }
  return first > second ? std::pair{keep_longer, keep_shorter}
                        : std::pair{keep_shorter, keep_longer};
}

std::optional<core::JsonConfig> read_if_there(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  return core::JsonConfig::read(path);
}

// The class without the "Fast" that says nothing of its pieces; empty where none is named.
std::string tokenizer_class(const core::JsonConfig& settings) {
  std::string name = settings.string_or("tokenizer_class", "");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name == "PreTrainedTokenizer" || name == "TokenizersBackend" ? "" : name;
}

[[noreturn]] void refuse_class(const core::JsonConfig& settings, std::string_view kind) {
  throw Error(ErrorCode::kUnsupported,
              settings.source() + ": the tokenizer_class \"" + settings.string("tokenizer_class") +
                  "\" gives ids that are not read from " + std::string(kind));
}

SentencePieceOptions sentencepiece_options(const fs::path& directory,
                                           const core::JsonConfig& settings) {
  // Those that number a model's pieces in ways of their own.
  constexpr std::array<std::string_view, 8> kOtherIds{
      "CamembertTokenizer", "MBartTokenizer", "MBart50Tokenizer", "NllbTokenizer",
      "BarthezTokenizer",   "XGLMTokenizer",  "PegasusTokenizer", "XLMProphetNetTokenizer"};
  const std::string name = tokenizer_class(settings);
  if (std::find(kOtherIds.begin(), kOtherIds.end(), name) != kOtherIds.end())
    refuse_class(settings, "a SentencePiece model");
  SentencePieceOptions options;
  const auto config = read_if_there(directory / "config.json");
  const std::string model_type = config ? config->string_or("model_type", "") : "";
  const bool is_xlm_roberta =
      name.empty() ? model_type == "xlm-roberta" : name == "XLMRobertaTokenizer";
  if (is_xlm_roberta) options.ids = SentencePieceIds::kXlmRoberta;
  options.add_bos = settings.boolean_or("add_bos_token", true);
  options.add_eos = settings.boolean_or("add_eos_token", true);
  return options;
}

// Not those that split words in a way of their own.
void check_wordpiece_class(const core::JsonConfig& settings) {
  constexpr std::array<std::string_view, 7> kBertLike{"",
                                                      "BertTokenizer",
                                                      "DistilBertTokenizer",
                                                      "ElectraTokenizer",
                                                      "MobileBertTokenizer",
                                                      "ConvBertTokenizer",
                                                      "RetriBertTokenizer"};
  const std::string name = tokenizer_class(settings);
  if (std::find(kBertLike.begin(), kBertLike.end(), name) == kBertLike.end())
    refuse_class(settings, "vocab.txt");
}

std::optional<fs::path> find_sentencepiece_model(const fs::path& directory) {
  for (const char* name :
       {"sentencepiece.bpe.model", "sentencepiece.model", "spiece.model", "tokenizer.model"})
    if (fs::exists(directory / name)) return directory / name;
  std::vector<fs::path> models;
  std::error_code ignored;  // an unreadable directory has none, and the caller says so
  for (const auto& entry : fs::directory_iterator(directory, ignored))
    if (entry.path().extension() == ".model") models.push_back(entry.path());
  if (models.size() > 1)
    throw Error(ErrorCode::kInvalidBundle, directory.string() +
                                               ": has several *.model files; keep one, or name it "
                                               "sentencepiece.bpe.model");
  return models.empty() ? std::nullopt : std::optional(models.front());
}

}  // namespace

Encoding Tokenizer::assemble(std::span<const Piece> first, std::span<const Piece> second,
                             bool is_pair, bool add_special_tokens) const {
  Encoding encoding;
  const SpecialTokens none;
  const SpecialTokens& around = add_special_tokens ? specials() : none;
  const std::int64_t second_type = specials().second_has_type_1 ? 1 : 0;
  const auto append_pieces = [&encoding](std::span<const Piece> pieces, std::int64_t type) {
    for (const Piece& piece : pieces) {
      encoding.ids.push_back(piece.id);
      encoding.type_ids.push_back(type);
      encoding.spans.push_back(piece.span);
      encoding.special.push_back(false);
    }
  };
  append_specials(encoding, around.first, 0);
  append_pieces(first, 0);
  if (is_pair) {
    append_specials(encoding, around.between, 0);
    append_pieces(second, second_type);
  }
  append_specials(encoding, around.last, is_pair ? second_type : 0);
  return encoding;
}

std::size_t Tokenizer::special_count(bool is_pair, const EncodeOptions& options) const noexcept {
  if (!options.add_special_tokens) return 0;
  return specials().first.size() + specials().last.size() +
         (is_pair ? specials().between.size() : 0);
}

Encoding Tokenizer::encode_pieces(std::span<const Piece> pieces,
                                  const EncodeOptions& options) const {
  const std::size_t room = room_for_pieces(options.max_tokens, special_count(false, options));
  const std::size_t kept = std::min(pieces.size(), room);
  Encoding encoding = assemble(options.keep_end ? pieces.last(kept) : pieces.first(kept), {}, false,
                               options.add_special_tokens);
  encoding.cut_tokens = static_cast<std::int64_t>(pieces.size() - kept);
  return encoding;
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  require_utf8(text);
  return encode_pieces(split(text), options);
}

Encoding Tokenizer::encode_ids(std::span<const std::int64_t> ids,
                               const EncodeOptions& options) const {
  const auto is = [](std::span<const std::int64_t> part, const std::vector<std::int64_t>& whole) {
    return std::equal(part.begin(), part.end(), whole.begin(), whole.end());
  };
  const SpecialTokens& around = specials();
  const std::size_t outer = around.first.size() + around.last.size();
  if (ids.size() >= outer && is(ids.first(around.first.size()), around.first) &&
      is(ids.last(around.last.size()), around.last))
    ids = ids.subspan(around.first.size(), ids.size() - outer);
  std::vector<Piece> pieces;
  pieces.reserve(ids.size());
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= vocab_size())
      throw Error(ErrorCode::kInvalidArgument, "there is no token " + std::to_string(id) +
                                                   "; this vocabulary has 0 to " +
                                                   std::to_string(vocab_size() - 1));
    pieces.push_back({id, {}});
  }
  return encode_pieces(pieces, options);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second,
                                const EncodeOptions& options) const {
  const std::size_t room = room_for_pieces(options.max_tokens, special_count(true, options));
  require_utf8(first);
  require_utf8(second);
  const std::vector<Piece> pieces = split(first), others = split(second);
  const auto [kept, kept_others] = longest_first(pieces.size(), others.size(), room);
  Encoding encoding = assemble(std::span(pieces).first(kept), std::span(others).first(kept_others),
                               true, options.add_special_tokens);
  encoding.cut_tokens =
      static_cast<std::int64_t>(pieces.size() - kept + others.size() - kept_others);
  return encoding;
}

std::vector<Encoding> Tokenizer::encode_windows(std::string_view text,
                                                const EncodeOptions& options) const {
  const std::size_t room = room_for_pieces(options.max_tokens, special_count(false, options));
  require_utf8(text);
  const std::vector<Piece> pieces = split(text);
  if (room == 0 && !pieces.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "max_tokens leaves no room for the text beside the special tokens; allow more");
  std::vector<Encoding> windows;
  std::span<const Piece> rest(pieces);
  do {
    const std::size_t size = std::min(rest.size(), room);
    windows.push_back(assemble(rest.first(size), {}, false, options.add_special_tokens));
    rest = rest.subspan(size);
  } while (!rest.empty());
  return windows;
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& directory) {
  const core::JsonConfig settings =
      read_if_there(directory / "tokenizer_config.json")
          .value_or(core::JsonConfig(nlohmann::json::object(), "tokenizer_config.json"));
  const auto tokenizer = read_if_there(directory / "tokenizer.json");
  const auto from_json = [&] {
    return std::make_unique<WordPieceTokenizer>(WordPieceConfig::from_tokenizer_json(*tokenizer));
  };
  if (tokenizer && model_type_of(*tokenizer) == "WordPiece") return from_json();
  if (const auto model = find_sentencepiece_model(directory))
    return SentencePieceTokenizer::parse(core::read_text_file(*model, kMaxFileBytes),
                                         model->string(),
                                         sentencepiece_options(directory, settings));
  if (const fs::path vocabulary = directory / "vocab.txt"; fs::exists(vocabulary)) {
    check_wordpiece_class(settings);
    return std::make_unique<WordPieceTokenizer>(WordPieceConfig::from_vocabulary(
        core::read_text_file(vocabulary, kMaxFileBytes), vocabulary.string(), settings));
  }
  // Alone, it says which kind it is and that this kind is not read.
  if (tokenizer) return from_json();
  throw Error(ErrorCode::kNotFound, directory.string() +
                                        ": has no tokenizer; looked for tokenizer.json, "
                                        "sentencepiece.bpe.model, any *.model and vocab.txt");
}

}  // namespace bifocal::text
