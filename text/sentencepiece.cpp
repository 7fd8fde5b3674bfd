#include "text/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "bifocal/error.h"
#include "sentencepiece_model.h"

namespace bifocal::text {
namespace {

constexpr std::string_view kSpaceSymbol = "\u2581";
// The library counts bytes in 32 bits with a sign, and normalisation may lengthen a text.
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 24;

// XLM-R's own four stand before the pieces, of which the model's <unk>, <s>, </s> are dropped.
constexpr std::int64_t kXlmRobertaOffset = 1;
constexpr std::int64_t kXlmRobertaUnk = 3;

}  // namespace

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

std::unique_ptr<SentencePieceTokenizer> SentencePieceTokenizer::parse(
    std::string_view model, const std::string& source, const SentencePieceOptions& options) {
  check_sentencepiece_model(model, source);
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  std::string refusal;
  try {
    const auto status = processor->LoadFromSerializedProto(model);
    if (!status.ok()) refusal = status.ToString();
  } catch (const std::exception& failure) {
    refusal = failure.what();
  }
  if (!refusal.empty())
    throw Error(ErrorCode::kInvalidBundle,
                source + ": libsentencepiece refuses this model; take the publisher's file again",
                refusal);
  return std::unique_ptr<SentencePieceTokenizer>(
      new SentencePieceTokenizer(std::move(processor), source, options));
}

SentencePieceTokenizer::SentencePieceTokenizer(
    std::unique_ptr<sentencepiece::SentencePieceProcessor> processor, const std::string& source,
    const SentencePieceOptions& options)
    : processor_(std::move(processor)) {
  if (options.ids == SentencePieceIds::kXlmRoberta)
    use_xlm_roberta_ids(source);
  else
    use_plain_ids(options);
}

void SentencePieceTokenizer::use_plain_ids(const SentencePieceOptions& options) {
  vocab_size_ = processor_->GetPieceSize();
  pad_id_ = std::max(0, processor_->pad_id());
  const std::int64_t bos = processor_->bos_id(), eos = processor_->eos_id();
  specials_.second_has_type_1 = false;
  if (options.add_bos && bos >= 0) specials_.first = {bos};
  if (options.add_eos && eos >= 0) specials_.between = specials_.last = {eos};
}

void SentencePieceTokenizer::use_xlm_roberta_ids(const std::string& source) {
  const std::int64_t size = processor_->GetPieceSize();
  if (size < 4 || !processor_->IsUnknown(0) || !processor_->IsControl(1) ||
      !processor_->IsControl(2))
    throw Error(ErrorCode::kInvalidBundle,
                source +
                    ": XLM-R's ids need a model that begins with <unk>, <s>, </s>; this one "
                    "does not, so it belongs to another tokenizer_class");
  offset_ = kXlmRobertaOffset;
  vocab_size_ = size + kXlmRobertaOffset + 1;
  pad_id_ = 1;
  added_ = {{.content = "<s>", .id = 0},
            {.content = "<pad>", .id = 1},
            {.content = "</s>", .id = 2},
            {.content = "<unk>", .id = kXlmRobertaUnk},
            {.content = "<mask>", .id = vocab_size_ - 1, .lstrip = true}};
  for (const AddedToken& token : added_) written_.add(decode_utf8(token.content), token);
  specials_ = {{0}, {2, 2}, {2}, false};
}

std::int64_t SentencePieceTokenizer::from_model_id(std::int64_t id) const noexcept {
  if (offset_ == 0) return id;
  return id == 0 ? kXlmRobertaUnk : id + offset_;
}

std::int64_t SentencePieceTokenizer::require_model_id(std::int64_t id) const {
  if (id < 0 || id >= vocab_size_)
    throw Error(ErrorCode::kInvalidArgument, "no piece has the id " + std::to_string(id) +
                                                 "; ids go from 0 to " +
                                                 std::to_string(vocab_size_ - 1));
  return id - offset_;
}

std::string SentencePieceTokenizer::piece(std::int64_t id) const {
  const std::int64_t model_id = require_model_id(id);
  for (const AddedToken& token : added_)
    if (token.id == id) return token.content;
  return processor_->IdToPiece(static_cast<int>(model_id));
}

std::optional<std::int64_t> SentencePieceTokenizer::find(std::string_view piece) const {
  for (const AddedToken& token : added_)
    if (token.content == piece) return token.id;
  const int id = processor_->PieceToId(piece);
  // The library answers with the unknown piece where there is none.
  if (processor_->IdToPiece(id) != piece) return std::nullopt;
  return from_model_id(id);
}

std::string SentencePieceTokenizer::decode(std::span<const std::int64_t> ids,
                                           bool skip_special) const {
  if (offset_ == 0) {
    std::vector<int> model_ids;
    for (const std::int64_t id : ids) model_ids.push_back(static_cast<int>(require_model_id(id)));
    std::string text, refusal;
    try {
      const auto status = processor_->Decode(model_ids, &text);
      if (!status.ok()) refusal = status.ToString();
    } catch (const std::exception& failure) {
      refusal = failure.what();
    }
    if (!refusal.empty())
      throw Error(
          ErrorCode::kInvalidBundle,
          "the SentencePiece model cannot decode these ids; take the publisher's file again",
          refusal);
    return text;
  }
  std::string text;
  for (const std::int64_t id : ids) {
    const std::string whole = piece(id);
    const bool is_special = std::any_of(added_.begin(), added_.end(),
                                        [id](const AddedToken& token) { return token.id == id; });
    if (is_special && skip_special) continue;
    std::string_view rest = whole;
    for (std::size_t at = rest.find(kSpaceSymbol); at != std::string_view::npos;
         at = rest.find(kSpaceSymbol)) {
      text.append(rest.substr(0, at)).push_back(' ');
      rest.remove_prefix(at + kSpaceSymbol.size());
    }
    text.append(rest);
  }
  if (text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::vector<Tokenizer::Piece> SentencePieceTokenizer::split(std::string_view text) const {
  if (text.size() > kMaxTextBytes)
    throw Error(ErrorCode::kInvalidText, "the text has " + std::to_string(text.size()) +
                                             " bytes, and at most " +
                                             std::to_string(kMaxTextBytes) + " can be split");
  std::vector<Piece> pieces;
  std::size_t free = 0;
  if (!added_.empty()) {
    const std::vector<Character> characters = decode_utf8(text);
    for (const AddedTokenMatcher::Match& match : written_.find(characters)) {
      const Span span{characters[match.begin].source.begin, characters[match.end - 1].source.end};
      split_segment(text.substr(free, span.begin - free), free, pieces);
      pieces.push_back({match.id, span});
      free = span.end;
    }
  }
  split_segment(text.substr(free), free, pieces);
  return pieces;
}

void SentencePieceTokenizer::split_segment(std::string_view segment, std::size_t offset,
                                           std::vector<Piece>& pieces) const {
  if (segment.empty()) return;
  std::string refusal;
  try {
    sentencepiece::ImmutableSentencePieceText split;
    const auto status = processor_->Encode(segment, split.mutable_proto());
    if (!status.ok()) refusal = status.ToString();
    const std::size_t size = refusal.empty() ? split.pieces_size() : 0;
    pieces.reserve(pieces.size() + size);
    for (std::size_t i = 0; i < size; ++i) {
      const auto piece = split.pieces(static_cast<int>(i));
      pieces.push_back({from_model_id(piece.id()), {offset + piece.begin(), offset + piece.end()}});
    }
  } catch (const std::exception& failure) {
    refusal = failure.what();
  }
  // It splits any text there is, unless its model is broken in a way that loading did not show.
  if (!refusal.empty())
    throw Error(ErrorCode::kInvalidBundle,
                "the SentencePiece model cannot split this text; take the publisher's file again",
                refusal);
}

}  // namespace bifocal::text
