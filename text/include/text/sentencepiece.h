#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace bifocal::text {

enum class SentencePieceIds {
  kPlain,       // those of the model
  kXlmRoberta,  // fairseq's: <s> 0, <pad> 1, </s> 2, <unk> 3, pieces one later, <mask> last
};

struct SentencePieceOptions {
  SentencePieceIds ids = SentencePieceIds::kPlain;
  // Plain ids alone: whether the model's own <s> and </s> stand around a text, where it has them.
  bool add_bos = true;
  bool add_eos = true;
};

// Kudo and Richardson 2018, through libsentencepiece: unigram, BPE, word and character models.
// Plain: `<s> a </s>`, and `<s> a </s> b </s>` for two, all of type 0; control pieces written in a
// text are plain text. XLM-R: `<s> a </s>`, `<s> a </s></s> b </s>`, and specials written in a text
// are those, as for the publisher's.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  // `model` is a serialised ModelProto (a .model file); `source` is what messages call it. It is
  // checked before the library sees it. Throws Error(kInvalidBundle).
  static std::unique_ptr<SentencePieceTokenizer> parse(std::string_view model,
                                                       const std::string& source,
                                                       const SentencePieceOptions& options);
  ~SentencePieceTokenizer() override;

  std::string piece(std::int64_t id) const override;
  std::string decode(std::span<const std::int64_t> ids, bool skip_special) const override;
  std::int64_t vocab_size() const noexcept override { return vocab_size_; }
  std::int64_t pad_id() const noexcept override { return pad_id_; }
  std::optional<std::int64_t> find(std::string_view piece) const override;

 protected:
  std::vector<Piece> split(std::string_view text) const override;
  const SpecialTokens& specials() const noexcept override { return specials_; }

 private:
  SentencePieceTokenizer(std::unique_ptr<sentencepiece::SentencePieceProcessor> processor,
                         const std::string& source, const SentencePieceOptions& options);
  void use_plain_ids(const SentencePieceOptions& options);
  void use_xlm_roberta_ids(const std::string& source);
  void split_segment(std::string_view segment, std::size_t offset,
                     std::vector<Piece>& pieces) const;
  std::int64_t from_model_id(std::int64_t id) const noexcept;
  std::int64_t require_model_id(std::int64_t id) const;

  std::unique_ptr<const sentencepiece::SentencePieceProcessor> processor_;
  std::int64_t offset_ = 0;        // of a piece's id over the model's
  std::vector<AddedToken> added_;  // XLM-R's five
  AddedTokenMatcher written_;
  SpecialTokens specials_;
  std::int64_t vocab_size_ = 0;
  std::int64_t pad_id_ = 0;
};

}  // namespace bifocal::text
