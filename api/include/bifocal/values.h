#pragma once
// The plain values that cross the library's border.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bifocal {

// What to embed: an image, a text, or both. At least one must be there.
struct Item {
  std::string id;                               // the caller's own, returned untouched
  std::optional<std::vector<std::byte>> image;  // an encoded JPEG, PNG or WebP file's bytes
  std::optional<std::string> text;              // UTF-8
  // The text as ids of this bundle's tokenizer, as tokenize() gives them; the special ones may be
  // left out. Not together with `text`.
  std::optional<std::vector<std::int64_t>> token_ids;
};

// Which side of an item counts.
enum class Side {
  kFused,  // whatever is there: both together, or the one that is present
  kImage,  // the image alone
  kText,   // the text alone
};

// What to do with text longer than the encoder takes.
enum class LongText {
  kTruncate,  // keep the beginning and report how many tokens were cut
  kWindows,   // encode overlap-free windows and average them, weighted by their tokens
  kKeepEnd,   // keep the end and report how many tokens were cut
  kRefuse,    // an error of the item
};

// What was done to get the numbers.
struct Provenance {
  Side side = Side::kFused;      // what was used: kFused only where both sides were
  std::int64_t tokens = 0;       // text tokens that entered the encoder, special ones included
  std::int64_t cut_tokens = 0;   // text tokens dropped by truncation
  std::int64_t windows = 0;      // windows of text encoded; 1 for a short text, 0 without text
  std::int64_t image_width = 0;  // pixels of the decoded image, orientation applied; 0 without
  std::int64_t image_height = 0;
};

struct Embedding {
  std::vector<float> values;  // [embedding_size], L2 norm 1
  Provenance provenance;
};

struct LabelScore {
  std::string label;
  float score = 0;  // a probability
};

struct Classification {
  std::string label_set;
  std::vector<LabelScore> scores;  // best first, at most ClassifyOptions::top_k
  Provenance provenance;
};

struct Match {
  float probability = 0;  // that the text belongs to the image: sigmoid of the logit
  float logit = 0;        // the match head's
  float cosine = 0;       // of the image-only and the text-only vector
  Provenance provenance;
};

struct Token {
  std::int64_t id = 0;
  std::string piece;      // as in the vocabulary
  std::size_t begin = 0;  // bytes [begin, end) of the original text; both 0 for a special token
  std::size_t end = 0;
  bool special = false;
};

struct Tokenization {
  std::vector<Token> tokens;
  std::int64_t cut_tokens = 0;
};

}  // namespace bifocal
