#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"
#include "text/wordpiece_config.h"

namespace bifocal::text {

// BERT's tokenizer (Devlin et al. 2019): normalisation, words at white space and punctuation, and
// in each word the longest piece first. Equal to the fast tokenizer of Hugging Face, added tokens
// and offsets included.
class WordPieceTokenizer final : public Tokenizer {
 public:
  explicit WordPieceTokenizer(WordPieceConfig config);

  std::string piece(std::int64_t id) const override;
  std::string decode(std::span<const std::int64_t> ids, bool skip_special) const override;
  std::int64_t vocab_size() const noexcept override { return vocab_size_; }
  std::int64_t pad_id() const noexcept override { return config_.pad_id; }
  std::optional<std::int64_t> find(std::string_view piece) const override;

 protected:
  std::vector<Piece> split(std::string_view text) const override;
  const SpecialTokens& specials() const noexcept override { return config_.specials; }

 private:
  void split_normalized(std::span<const Character> text, std::vector<Piece>& pieces) const;
  void split_words(std::span<const Character> text, std::vector<Piece>& pieces) const;
  void split_word(std::span<const Character> word, std::vector<Piece>& pieces) const;

  WordPieceConfig config_;
  PieceIds continuing_;  // without their prefix
  std::unordered_map<std::int64_t, std::string> pieces_;
  std::unordered_map<std::int64_t, bool> added_;  // id -> special
  AddedTokenMatcher raw_tokens_, normalized_tokens_;
  std::int64_t vocab_size_ = 0;
  std::int64_t unk_id_ = 0;
  std::size_t longest_piece_ = 0;  // bytes
};

}  // namespace bifocal::text
