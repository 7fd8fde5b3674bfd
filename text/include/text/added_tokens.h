#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/utf8.h"

namespace bifocal::text {

// A piece that is looked for in the text before it is split: "[MASK]" written in a text is the
// mask. The members are those of `added_tokens` in a tokenizer.json.
struct AddedToken {
  std::string content;
  std::int64_t id = 0;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // takes the white space after it along
  bool normalized = false;   // looked for in the normalised text
  bool special = true;       // left out by decode(skip_special)
};

// Leftmost, then longest; matches do not overlap. Immutable once filled; thread-safe to read.
class AddedTokenMatcher {
 public:
  struct Match {
    std::size_t begin, end;  // characters
    std::int64_t id;
  };

  // `content` is what is looked for: the token's own, or that normalised. Empty: never found.
  void add(std::span<const Character> content, const AddedToken& token);
  std::vector<Match> find(std::span<const Character> text) const;

 private:
  static std::uint64_t edge(std::size_t node, char32_t value) noexcept {
    return (std::uint64_t{node} << 21) | value;
  }
  // The longest token at `begin`: its index, and one past its last character.
  struct Found {
    std::size_t token, end;
  };
  std::optional<Found> longest_at(std::span<const Character> text, std::size_t begin) const;

  std::vector<AddedToken> tokens_;
  // A trie: node 0 is its root.
  std::vector<std::optional<std::size_t>> token_of_node_{std::nullopt};
  std::unordered_map<std::uint64_t, std::size_t> edges_;
  std::u32string first_characters_;
};

}  // namespace bifocal::text
