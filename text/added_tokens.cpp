#include "text/added_tokens.h"

#include <algorithm>

#include "text/normalizer.h"

namespace bifocal::text {
namespace {

bool touches_a_word(std::span<const Character> text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word_character(text[begin - 1].value)) ||
         (end < text.size() && is_word_character(text[end].value));
}

}  // namespace

void AddedTokenMatcher::add(std::span<const Character> content, const AddedToken& token) {
  if (content.empty()) return;
  if (first_characters_.find(content.front().value) == std::u32string::npos)
    first_characters_.push_back(content.front().value);
  std::size_t node = 0;
  for (const Character& c : content) {
    const auto [next, is_new] = edges_.try_emplace(edge(node, c.value), token_of_node_.size());
    if (is_new) token_of_node_.emplace_back();
    node = next->second;
  }
  // Of two with the same content the first stands.
  if (token_of_node_[node]) return;
  token_of_node_[node] = tokens_.size();
  tokens_.push_back(token);
}

std::optional<AddedTokenMatcher::Found> AddedTokenMatcher::longest_at(
    std::span<const Character> text, std::size_t begin) const {
  if (first_characters_.find(text[begin].value) == std::u32string::npos) return std::nullopt;
  std::optional<Found> found;
  std::size_t node = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const auto next = edges_.find(edge(node, text[i].value));
    if (next == edges_.end()) break;
    node = next->second;
    if (token_of_node_[node]) found = Found{*token_of_node_[node], i + 1};
  }
  return found;
}

std::vector<AddedTokenMatcher::Match> AddedTokenMatcher::find(
    std::span<const Character> text) const {
  std::vector<Match> matches;
  std::size_t free = 0;  // what earlier matches leave
  for (std::size_t i = 0; i < text.size();) {
    const std::optional<Found> found = longest_at(text, i);
    if (!found) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[found->token];
    std::size_t begin = i, end = found->end;
    i = found->end;
    if (token.single_word && touches_a_word(text, begin, end)) continue;
    if (token.lstrip)
      while (begin > free && is_whitespace(text[begin - 1].value)) --begin;
    if (token.rstrip)
      while (end < text.size() && is_whitespace(text[end].value)) ++end;
    matches.push_back({std::max(begin, free), end, token.id});
    free = end;
    i = std::max(i, end);
  }
  return matches;
}

}  // namespace bifocal::text
