#include "training/contrast_texts.h"

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "training/contrast_partners.h"

namespace bifocal::training {

std::vector<std::size_t> ContrastTexts::draw(std::size_t record,
                                             const std::vector<std::size_t>& of_kinds,
                                             std::size_t most, Random& random) const {
  std::vector<std::size_t> drawn;
  for (std::size_t p = first[record]; p < first[record + 1]; ++p)
    if (std::ranges::binary_search(of_kinds, pairs[p].kind)) drawn.push_back(p);
  random.shuffle(drawn);
  drawn.resize(std::min(drawn.size(), most));
  return drawn;
}

ContrastTexts encode_contrasts(const RecordSet& records, const std::vector<std::string>& kinds,
                               const text::Bert& tower, const text::Tokenizer& tokenizer,
                               std::int64_t layers, std::int64_t max_tokens, bool with_partners,
                               const EncodingOptions& options) {
  ContrastTexts contrasts;
  contrasts.kinds = kinds;
  std::vector<std::string> texts;
  std::unordered_map<std::string, std::int64_t> rows;
  const auto row_of = [&](const std::string& text) {
    const auto [found, is_new] = rows.try_emplace(text, static_cast<std::int64_t>(texts.size()));
    if (is_new) texts.push_back(text);
    return found->second;
  };
  std::optional<ContrastPartners> partners;
  if (with_partners) partners.emplace(records);
  for (std::size_t i = 0; i < records.size(); ++i) {
    contrasts.first.push_back(contrasts.pairs.size());
    for (const Contrast& contrast : records[i].contrasts) {
      const auto kind = std::ranges::lower_bound(kinds, contrast.kind);
      contrasts.pairs.push_back({static_cast<std::size_t>(kind - kinds.begin()), i,
                                 row_of(contrast.true_text), row_of(contrast.false_text),
                                 partners ? partners->list_of(contrast) : 0});
    }
  }
  contrasts.first.push_back(contrasts.pairs.size());
  if (partners) contrasts.partners = partners->lists();
  contrasts.texts = encode_captions(texts, tower, tokenizer, layers, max_tokens, options);
  return contrasts;
}

std::vector<std::string> kinds_of_contrasts(std::initializer_list<const RecordSet*> sets) {
  std::set<std::string> kinds;
  for (const RecordSet* set : sets)
    for (const Record& record : set->records())
      for (const Contrast& contrast : record.contrasts) kinds.insert(contrast.kind);
  return {kinds.begin(), kinds.end()};
}

}  // namespace bifocal::training
