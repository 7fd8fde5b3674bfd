#include "text/wordpiece.h"

#include <algorithm>
#include <array>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

// The replacements that the publishers' decoder makes in every piece, in its order.
constexpr std::array<std::array<std::string_view, 2>, 11> kCleanups{{{" .", "."},
                                                                     {" ?", "?"},
                                                                     {" !", "!"},
                                                                     {" ,", ","},
                                                                     {" ' ", "'"},
                                                                     {" n't", "n't"},
                                                                     {" 'm", "'m"},
                                                                     {" do not", " don't"},
                                                                     {" 's", "'s"},
                                                                     {" 've", "'ve"},
                                                                     {" 're", "'re"}}};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(WordPieceConfig config) : config_(std::move(config)) {
  const std::string& prefix = config_.continuing_subword_prefix;
  for (const auto& [piece, id] : config_.vocabulary) {
    pieces_.emplace(id, piece);
    vocab_size_ = std::max(vocab_size_, id + 1);
    longest_piece_ = std::max(longest_piece_, piece.size());
    if (piece.starts_with(prefix)) continuing_.emplace(piece.substr(prefix.size()), id);
  }
  for (const AddedToken& token : config_.added_tokens) {
    pieces_[token.id] = token.content;
    added_[token.id] = token.special;
    vocab_size_ = std::max(vocab_size_, token.id + 1);
    const std::vector<Character> content = decode_utf8(token.content);
    if (token.normalized)
      normalized_tokens_.add(normalize(content, config_.normalization), token);
    else
      raw_tokens_.add(content, token);
  }
  const auto unk = find(config_.unk_token);
  if (!unk)
    throw Error(ErrorCode::kInvalidBundle, "the vocabulary has no unknown token \"" +
                                               config_.unk_token +
                                               "\"; check that it belongs to this tokenizer");
  unk_id_ = *unk;
}

std::optional<std::int64_t> WordPieceTokenizer::find(std::string_view piece) const {
  for (const AddedToken& token : config_.added_tokens)
    if (token.content == piece) return token.id;
  const auto found = config_.vocabulary.find(piece);
  if (found == config_.vocabulary.end()) return std::nullopt;
  return found->second;
}

std::string WordPieceTokenizer::piece(std::int64_t id) const {
  const auto found = pieces_.find(id);
  if (found == pieces_.end())
    throw Error(ErrorCode::kInvalidArgument, "no piece has the id " + std::to_string(id) +
                                                 "; ids go from 0 to " +
                                                 std::to_string(vocab_size_ - 1));
  return found->second;
}

std::string WordPieceTokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::string text;
  bool first = true;
  for (const std::int64_t id : ids) {
    std::string token = piece(id);
    const auto added = added_.find(id);
    if (skip_special && added != added_.end() && added->second) continue;
    const std::string& prefix = config_.continuing_subword_prefix;
    if (!first) {
      if (config_.joins_pieces && token.starts_with(prefix))
        token.erase(0, prefix.size());
      else
        token.insert(token.begin(), ' ');
    }
    first = false;
    if (config_.cleans_decoded)
      for (const auto& [from, to] : kCleanups) replace_all(token, from, to);
    text += token;
  }
  return text;
}

std::vector<Tokenizer::Piece> WordPieceTokenizer::split(std::string_view text) const {
  const std::vector<Character> characters = decode_utf8(text);
  const std::span<const Character> all(characters);
  std::vector<Piece> pieces;
  std::size_t free = 0;
  for (const AddedTokenMatcher::Match& match : raw_tokens_.find(all)) {
    split_normalized(all.subspan(free, match.begin - free), pieces);
    pieces.push_back({match.id, {all[match.begin].source.begin, all[match.end - 1].source.end}});
    free = match.end;
  }
  split_normalized(all.subspan(free), pieces);
  return pieces;
}

void WordPieceTokenizer::split_normalized(std::span<const Character> text,
                                          std::vector<Piece>& pieces) const {
  if (text.empty()) return;
  const std::vector<Character> normalized = normalize(text, config_.normalization);
  const std::span<const Character> all(normalized);
  std::size_t free = 0;
  for (const AddedTokenMatcher::Match& match : normalized_tokens_.find(all)) {
    split_words(all.subspan(free, match.begin - free), pieces);
    pieces.push_back({match.id, {all[match.begin].source.begin, all[match.end - 1].source.end}});
    free = match.end;
  }
  split_words(all.subspan(free), pieces);
}

void WordPieceTokenizer::split_words(std::span<const Character> text,
                                     std::vector<Piece>& pieces) const {
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const bool at_end = i == text.size();
    const bool alone = !at_end && is_punctuation(text[i].value);
    if (!at_end && !alone && !is_whitespace(text[i].value)) continue;
    if (i > begin) split_word(text.subspan(begin, i - begin), pieces);
    if (alone) split_word(text.subspan(i, 1), pieces);
    begin = i + 1;
  }
}

void WordPieceTokenizer::split_word(std::span<const Character> word,
                                    std::vector<Piece>& pieces) const {
  const std::size_t known = pieces.size();
  const auto give_up = [&] {
    pieces.resize(known);
    pieces.push_back({unk_id_, {word.front().source.begin, word.back().source.end}});
  };
  if (word.size() > config_.max_input_chars_per_word) return give_up();

  std::string bytes;
  std::vector<std::size_t> starts;  // of each character, and the end
  starts.reserve(word.size() + 1);
  for (const Character& c : word) {
    starts.push_back(bytes.size());
    append_utf8(bytes, c.value);
  }
  starts.push_back(bytes.size());

  for (std::size_t begin = 0; begin < word.size();) {
    const PieceIds& candidates = begin == 0 ? config_.vocabulary : continuing_;
    // No longer than the longest piece, so that a config without a limit on words stays linear.
    const auto past =
        std::upper_bound(starts.begin(), starts.end(), starts[begin] + longest_piece_);
    std::size_t end = static_cast<std::size_t>(past - starts.begin()) - 1;
    for (; end > begin; --end) {
      const std::string_view candidate(bytes.data() + starts[begin], starts[end] - starts[begin]);
      const auto found = candidates.find(candidate);
      if (found == candidates.end()) continue;
      pieces.push_back({found->second, {word[begin].source.begin, word[end - 1].source.end}});
      break;
    }
    if (end == begin) return give_up();
    begin = end;
  }
}

}  // namespace bifocal::text
