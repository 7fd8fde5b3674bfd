#include "sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "text/utf8.h"

namespace bifocal::text {
namespace {

// Generous beside what is published, and little enough that no text can take minutes.
constexpr std::size_t kMaxPieceBytes = 1024;
constexpr std::size_t kMaxRuleBytes = 1024;
constexpr std::size_t kMaxTrieUnits = std::size_t{1} << 20;
// Sizes of arrays on the library's stack.
constexpr int kMaxRulesAtOnePlace = 32;
constexpr std::size_t kMaxSymbolsAtOnePlace = 64;

[[noreturn]] void invalid(const std::string& source, const std::string& what) {
  throw Error(ErrorCode::kInvalidBundle, source + ": is not a sound SentencePiece model: " + what +
                                             "; take the publisher's file again");
}

// Protocol Buffers' wire format: https://protobuf.dev/programming-guides/encoding
enum class WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  std::uint64_t number;
  WireType type;
  std::uint64_t value;     // kVarint, kFixed32
  std::string_view bytes;  // kBytes
};

class Message {
 public:
  Message(std::string_view bytes, const std::string& source) : rest_(bytes), source_(source) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field{tag >> 3, static_cast<WireType>(tag & 7), 0, {}};
    switch (field.type) {
      case WireType::kVarint:
        field.value = varint();
        return field;
      case WireType::kFixed64:
        take(8);
        return field;
      case WireType::kFixed32: {
        std::uint32_t value = 0;
        std::memcpy(&value, take(4).data(), 4);
        field.value = value;
        return field;
      }
      case WireType::kBytes:
        field.bytes = take(varint());
        return field;
    }
    invalid(source_, "it is not a protocol buffer");
  }

 private:
  std::string_view take(std::uint64_t size) {
    if (size > rest_.size()) invalid(source_, "it is cut short, or no protocol buffer");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    invalid(source_, "it is not a protocol buffer");
  }

  std::string_view rest_;
  const std::string& source_;
};

// The double array of darts-clone (Yata): unit n leads, on byte c, to unit offset(n) ^ c if its
// label is c.
class RuleTrie {
 public:
  RuleTrie(std::string_view units, std::string_view rules, const std::string& source)
      : units_(units.size() / 4), rules_(rules), source_(source) {
    std::memcpy(units_.data(), units.data(), units.size());
    if constexpr (std::endian::native == std::endian::big)
      invalid(source, "its rules are little-endian, and this machine is not");
  }

  // Every walk from the root stays inside, ends, and passes at most 32 rules.
  void check() {
    most_rules_.assign(units_.size(), kUnseen);
    std::vector<Visit> path;
    enter(path, target(0, units_.front()));
    while (!path.empty()) {
      Visit& visit = path.back();
      const std::optional<std::size_t> child = next_child(visit);
      if (!child) {
        most_rules_[visit.block] = visit.most;
        const Visit done = visit;
        path.pop_back();
        if (!path.empty()) count(path.back(), done.most);
        continue;
      }
      const std::size_t block = target(*child, units_[*child]);
      visit.child_has_rule = has_rule(units_[*child]);
      enter(path, block);  // `visit` may be gone from here on
    }
  }

 private:
  static constexpr int kUnseen = -1, kOpen = -2;

  struct Visit {
    std::size_t block;
    std::uint32_t next_label = 0;
    int most = 0;  // rules passed at most below here
    bool child_has_rule = false;
  };

  static std::size_t target(std::size_t position, std::uint32_t unit) {
    return position ^ (std::size_t{unit >> 10} << ((unit & (1u << 9)) >> 6));
  }
  static bool has_rule(std::uint32_t unit) { return ((unit >> 8) & 1u) != 0; }

  std::optional<std::size_t> next_child(Visit& visit) const {
    while (visit.next_label < 256) {
      const std::uint32_t label = visit.next_label++;
      const std::size_t child = visit.block ^ label;
      if ((units_[child] & 0x800000FFu) == label) return child;
    }
    return std::nullopt;
  }

  void count(Visit& parent, int below) const {
    const int passed = below + (parent.child_has_rule ? 1 : 0);
    if (passed > kMaxRulesAtOnePlace)
      invalid(source_, "more than 32 normalisation rules apply at one place");
    parent.most = std::max(parent.most, passed);
  }

  void enter(std::vector<Visit>& path, std::size_t block) {
    if ((block | 0xFFu) >= units_.size())
      invalid(source_, "its normalisation rules point outside their table");
    if (!path.empty() && path.back().child_has_rule) check_rule(units_[block] & 0x7FFFFFFFu);
    if (most_rules_[block] == kOpen) invalid(source_, "its normalisation rules run in a circle");
    if (most_rules_[block] != kUnseen) return count(path.back(), most_rules_[block]);
    most_rules_[block] = kOpen;
    path.push_back({block});
  }

  void check_rule(std::size_t at) const {
    if (at >= rules_.size() || (at > 0 && rules_[at - 1] != '\0'))
      invalid(source_, "a normalisation rule has no replacement");
  }

  std::vector<std::uint32_t> units_;
  std::vector<int> most_rules_;
  std::string_view rules_;
  const std::string& source_;
};

// A size, the double array, and the replacements, each ended by a zero byte.
void check_charsmap(std::string_view map, const std::string& source) {
  if (map.empty()) return;
  std::uint32_t size = 0;
  if (map.size() < sizeof size) invalid(source, "its normalisation rules are cut short");
  std::memcpy(&size, map.data(), sizeof size);
  map.remove_prefix(sizeof size);
  if (size == 0 || size % 4 != 0 || size / 4 > kMaxTrieUnits || size >= map.size())
    invalid(source, "its normalisation rules have a wrong size");
  const std::string_view rules = map.substr(size);
  if (rules.back() != '\0' || find_invalid_utf8(rules))
    invalid(source, "its normalisation rules have replacements that are no text");
  for (std::size_t begin = 0; begin < rules.size();) {
    const std::size_t end = rules.find('\0', begin);
    if (end - begin > kMaxRuleBytes) invalid(source, "a normalisation rule is over 1024 bytes");
    begin = end + 1;
  }
  RuleTrie(map.substr(0, size), rules, source).check();
}

void check_normalizer_spec(std::string_view spec, const std::string& source) {
  Message message(spec, source);
  while (const auto field = message.next())
    if (field->number == 2 && field->type == WireType::kBytes) check_charsmap(field->bytes, source);
}

void check_trainer_spec(std::string_view spec, const std::string& source) {
  Message message(spec, source);
  while (const auto field = message.next()) {
    if (field->number == 3 && field->type == WireType::kVarint &&
        (field->value < 1 || field->value > 4))
      invalid(source, "its model_type is none of unigram, bpe, word and char");
    // unk_surface, unk_piece, bos_piece, eos_piece, pad_piece
    if (field->number >= 44 && field->number <= 48 && field->type == WireType::kBytes &&
        find_invalid_utf8(field->bytes))
      invalid(source, "a piece of its trainer_spec is not UTF-8");
  }
}

constexpr std::uint64_t kUserDefined = 4, kByte = 6;

// Its text, where it is a symbol that is matched before all else.
std::optional<std::string_view> check_piece(std::string_view piece, const std::string& source) {
  std::string_view text;
  std::uint64_t type = 1;
  float score = 0;
  Message message(piece, source);
  while (const auto field = message.next()) {
    if (field->number == 1 && field->type == WireType::kBytes) text = field->bytes;
    if (field->number == 2 && field->type == WireType::kFixed32)
      score = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
    if (field->number == 3 && field->type == WireType::kVarint) type = field->value;
  }
  if (text.empty() || text.size() > kMaxPieceBytes) invalid(source, "a piece has no sound length");
  if (find_invalid_utf8(text) || text.find('\0') != std::string_view::npos)
    invalid(source, "a piece is no text");
  if (!std::isfinite(score)) invalid(source, "the score of a piece is not finite");
  if (type < 1 || type > kByte) invalid(source, "a piece has an unknown type");
  return type == kUserDefined ? std::optional(text) : std::nullopt;
}

// Sorted, a symbol comes after those that it begins with.
void check_symbols(std::vector<std::string_view> symbols, const std::string& source) {
  std::sort(symbols.begin(), symbols.end());
  std::vector<std::string_view> beginnings;
  for (const std::string_view symbol : symbols) {
    while (!beginnings.empty() && !symbol.starts_with(beginnings.back())) beginnings.pop_back();
    beginnings.push_back(symbol);
    if (beginnings.size() > kMaxSymbolsAtOnePlace)
      invalid(source, "more than 64 of its symbols apply at one place");
  }
}

}  // namespace

void check_sentencepiece_model(std::string_view model, const std::string& source) {
  std::vector<std::string_view> symbols;
  std::size_t pieces = 0;
  Message message(model, source);
  while (const auto field = message.next()) {
    if (field->type != WireType::kBytes) continue;
    switch (field->number) {
      case 1:
        ++pieces;
        if (const auto symbol = check_piece(field->bytes, source)) symbols.push_back(*symbol);
        break;
      case 2:
        check_trainer_spec(field->bytes, source);
        break;
      case 3:  // normalizer_spec
      case 5:  // denormalizer_spec
        check_normalizer_spec(field->bytes, source);
        break;
      default:
        break;
    }
  }
  if (pieces == 0) invalid(source, "it has no pieces");
  check_symbols(std::move(symbols), source);
}

}  // namespace bifocal::text
