#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/utf8.h"

namespace bifocal::text {

// All four vectors have the same length: that of the sequence.
struct Encoding {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> type_ids;  // 0, or 1 for the second text of a pair
  std::vector<Span> spans;             // into the text that the piece is of; {0, 0} if special
  std::vector<bool> special;           // put there by the tokenizer, not written in the text
  std::int64_t cut_tokens = 0;         // pieces that truncation dropped
};

struct EncodeOptions {
  std::size_t max_tokens = 0;  // special ones included; 0: no limit
  bool add_special_tokens = true;
  bool keep_end = false;  // of a text that is too long, keep the end instead of the beginning
};

// The specials around one text and between two: BERT's {cls}, {sep}, {sep}; XLM-R's
// {<s>}, {</s>, </s>}, {</s>}.
struct SpecialTokens {
  std::vector<std::int64_t> first, between, last;
  bool second_has_type_1 = true;
};

// Text to ids, exactly as the publisher's tokenizer. Immutable after loading; thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Each throws Error: kInvalidText where a text is not UTF-8, saying at which byte;
  // kInvalidArgument where max_tokens is less than the special tokens alone.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  // What encode() would have given for the text that these ids were made from: special tokens that
  // already stand around them are not doubled, and spans are {0, 0}. Throws
  // Error(kInvalidArgument) for an id that is none.
  Encoding encode_ids(std::span<const std::int64_t> ids, const EncodeOptions& options = {}) const;
  // [CLS] a [SEP] b [SEP], or <s> a </s></s> b </s>. Truncates the longer side first.
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options = {}) const;
  // One long text in consecutive windows of at most max_tokens (special ones included); none is
  // cut. A text without pieces is one window.
  std::vector<Encoding> encode_windows(std::string_view text, const EncodeOptions& options) const;

  // As in the vocabulary. These two throw Error(kInvalidArgument) for an id that is none.
  virtual std::string piece(std::int64_t id) const = 0;
  virtual std::string decode(std::span<const std::int64_t> ids, bool skip_special) const = 0;
  virtual std::int64_t vocab_size() const noexcept = 0;  // the largest id + 1
  virtual std::int64_t pad_id() const noexcept = 0;
  virtual std::optional<std::int64_t> find(std::string_view piece) const = 0;

 protected:
  struct Piece {
    std::int64_t id;
    Span span;
  };
  // Without special tokens; `text` is valid UTF-8.
  virtual std::vector<Piece> split(std::string_view text) const = 0;
  virtual const SpecialTokens& specials() const noexcept = 0;

 private:
  Encoding assemble(std::span<const Piece> first, std::span<const Piece> second, bool is_pair,
                    bool add_special_tokens) const;
  Encoding encode_pieces(std::span<const Piece> pieces, const EncodeOptions& options) const;
  std::size_t special_count(bool is_pair, const EncodeOptions& options) const noexcept;
};

// From a directory in the Hub's layout: tokenizer.json (WordPiece models), sentencepiece.bpe.model
// or any one *.model, or vocab.txt, with tokenizer_config.json (do_lower_case, ...) and config.json
// (model_type) where present. docs/tokenizers.md says which of them decides what.
// Throws Error: kInvalidBundle, kUnsupported for other kinds of tokenizer, or kNotFound naming the
// files it looked for.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& directory);

}  // namespace bifocal::text
