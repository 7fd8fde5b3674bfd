#include "training/contrast_partners.h"

#include <algorithm>
#include <iterator>
#include <set>

#include "training/captions/caption_edits.h"

namespace bifocal::training {
namespace {

// Not articles: "an orange" has become "a red".
std::set<std::string> words_of_text(const std::string& text) {
  std::set<std::string> words;
  for (std::string& word : caption_words(text))
    if (word != "a" && word != "an") words.insert(std::move(word));
  return words;
}

std::vector<std::string> only_in(const std::set<std::string>& one,
                                 const std::set<std::string>& other) {
  std::vector<std::string> words;
  std::ranges::set_difference(one, other, std::back_inserter(words));
  return words;
}

}  // namespace

ContrastPartners::ContrastPartners(const RecordSet& records) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    std::set<std::string> words;
    for (const std::string& text : records[i].texts) words.merge(words_of_text(text));
    for (const std::string& word : words) pictures_[word].push_back(static_cast<std::int64_t>(i));
  }
}

std::size_t ContrastPartners::list_of(const Contrast& contrast) {
  const std::set<std::string> yes = words_of_text(contrast.true_text);
  const std::set<std::string> no = words_of_text(contrast.false_text);
  std::pair key(only_in(no, yes), only_in(yes, no));
  const auto [found, is_new] = known_.try_emplace(std::move(key), lists_.size());
  if (is_new) lists_.push_back(pictures_of(found->first.first, found->first.second));
  return found->second;
}

std::vector<std::int64_t> ContrastPartners::pictures_of(const Words& with,
                                                        const Words& without) const {
  if (with.empty()) return {};
  const auto having = [this](const std::string& word) {
    const auto found = pictures_.find(word);
    return found == pictures_.end() ? std::vector<std::int64_t>() : found->second;
  };
  std::vector<std::int64_t> pictures = having(with.front());
  const auto keep = [&pictures](const std::vector<std::int64_t>& others, bool there) {
    std::erase_if(pictures, [&](std::int64_t picture) {
      return std::ranges::binary_search(others, picture) != there;
    });
  };
  for (const std::string& word : with) keep(having(word), true);
  for (const std::string& word : without) keep(having(word), false);
  return pictures;
}

}  // namespace bifocal::training
