#include "training/captions/caption_edits.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace bifocal::training {
namespace {

using Words = std::vector<std::string>;

// Words that may stand for each other: one kind, one form.
struct Exchangeable {
  std::string kind;
  Words words;
};

const std::vector<Exchangeable>& exchangeable() {
  static const std::vector<Exchangeable> sets = {
      {"colour",
       {"black", "white", "red", "blue", "green", "yellow", "brown", "orange", "pink", "purple",
        "gray", "grey", "tan"}},
      {"number", {"two", "three", "four", "five", "six"}},
      {"animal", {"dog", "cat", "horse", "bird", "cow", "goat", "sheep", "rabbit", "elephant"}},
      {"animal", {"dogs", "cats", "horses", "birds", "cows", "goats", "ducks", "elephants"}},
      {"gender", {"man", "woman"}},
      {"gender", {"men", "women"}},
      {"gender", {"boy", "girl"}},
      {"gender", {"boys", "girls"}},
      {"gender", {"he", "she"}},
      {"place",
       {"beach", "street", "field", "park", "pool", "forest", "river", "lake", "road", "yard",
        "sidewalk", "city", "ocean", "mountain", "hill", "playground", "lawn", "parking"}},
      {"place", {"snow", "water", "grass", "sand", "mud", "dirt"}},
      {"action",
       {"running", "jumping", "sitting", "standing", "walking", "swimming", "climbing", "riding",
        "sleeping", "lying", "dancing", "eating", "laughing", "sliding", "swinging", "fighting"}},
      {"action",
       {"runs", "jumps", "sits", "stands", "walks", "swims", "climbs", "rides", "sleeps", "lies",
        "dances", "eats", "laughs", "slides", "swings"}},
      {"action", {"run", "jump", "sit", "stand", "walk", "swim", "climb", "ride", "lie", "dance"}},
      {"action",
       {"holding", "throwing", "catching", "chasing", "carrying", "kicking", "hitting", "pulling",
        "pushing", "biting", "licking"}},
      {"action",
       {"holds", "throws", "catches", "chases", "carries", "kicks", "hits", "pulls", "pushes",
        "bites"}},
  };
  return sets;
}

// Nouns that may change places: of one kind, since a dog that holds a man by the leash gives itself
// away, and of one number, so that verbs still agree.
const std::vector<std::set<std::string>>& swappable() {
  static const std::vector<std::set<std::string>> sets = {
      {"man", "woman", "boy", "girl", "child", "baby", "person", "kid", "lady", "guy", "toddler",
       "player", "rider", "cyclist", "skier", "surfer", "climber"},
      {"men", "women", "boys", "girls", "children", "people", "kids", "adults", "players"},
      {"dog", "puppy", "cat", "horse", "bird", "cow"},
      {"dogs", "puppies", "cats", "horses", "birds", "cows"},
      {"ball", "bike",  "bicycle", "car",    "frisbee",    "stick",      "toy",
       "rope", "boat",  "truck",   "camera", "skateboard", "motorcycle", "bench",
       "tree", "table", "chair",   "fence",  "rock",       "slide",      "swing"},
      {"bikes", "cars", "toys", "rocks", "trees"}};
  return sets;
}

// Between two nouns, these alone leave it open who does what.
bool is_symmetric(const std::string& word) {
  static const std::set<std::string> words = {
      "and",      "or",  "with",  "near", "by",  "beside", "next", "to",
      "together", ",",   "a",     "an",   "the", "is",     "are",  "another",
      "his",      "her", "their", "two",  "one", "of",     "other"};
  return words.contains(word);
}

bool is_vowel(char c) { return std::string_view("aeiou").find(c) != std::string_view::npos; }

// "a" and "an" before the words at `places`.
void set_articles(Words& words, const std::vector<std::size_t>& places) {
  for (const std::size_t place : places)
    if (place > 0 && (words[place - 1] == "a" || words[place - 1] == "an"))
      words[place - 1] = is_vowel(words[place].front()) ? "an" : "a";
}

std::string sentence_of(const Words& words) {
  std::string text;
  for (const std::string& word : words) {
    const bool is_mark = word.size() == 1 && std::ispunct(static_cast<unsigned char>(word[0])) != 0;
    text += (text.empty() || is_mark ? "" : " ") + word;
  }
  return text;
}

struct Place {
  std::size_t set = 0, at = 0;
};

std::optional<Contrast> exchanged(const Words& words, const std::string& kind,
                                  const std::set<std::string>& said,
                                  const std::map<std::string, double>& frequency, Random& random) {
  std::vector<Place> places;
  for (std::size_t s = 0; s < exchangeable().size(); ++s)
    for (std::size_t at = 0; at < words.size(); ++at)
      if (exchangeable()[s].kind == kind &&
          std::ranges::find(exchangeable()[s].words, words[at]) != exchangeable()[s].words.end())
        places.push_back({s, at});
  if (places.empty()) return std::nullopt;
  const Place place = places[random.below(places.size())];
  std::vector<std::pair<std::string, double>> others;
  double total = 0;
  for (const std::string& word : exchangeable()[place.set].words) {
    const auto found = frequency.find(word);
    if (said.contains(word) || found == frequency.end()) continue;
    others.emplace_back(word, found->second);
    total += found->second;
  }
  if (others.empty()) return std::nullopt;
  double left = random.uniform() * total;
  std::size_t chosen = 0;
  while (chosen + 1 < others.size() && (left -= others[chosen].second) >= 0) ++chosen;
  Words edited = words;
  edited[place.at] = others[chosen].first;
  set_articles(edited, {place.at});
  return Contrast{kind, sentence_of(words), sentence_of(edited)};
}

std::optional<Contrast> swapped(const Words& words, Random& random) {
  std::vector<std::pair<std::size_t, std::size_t>> choices;
  for (const std::set<std::string>& nouns : swappable())
    for (std::size_t a = 0; a < words.size(); ++a)
      for (std::size_t b = a + 2; b < words.size(); ++b)
        if (nouns.contains(words[a]) && nouns.contains(words[b]) && words[a] != words[b] &&
            !std::all_of(words.begin() + static_cast<std::ptrdiff_t>(a) + 1,
                         words.begin() + static_cast<std::ptrdiff_t>(b), is_symmetric))
          choices.emplace_back(a, b);
  if (choices.empty()) return std::nullopt;
  const auto [a, b] = choices[random.below(choices.size())];
  Words edited = words;
  std::swap(edited[a], edited[b]);
  set_articles(edited, {a, b});
  return Contrast{"swapped nouns", sentence_of(words), sentence_of(edited)};
}

}  // namespace

std::vector<std::string> caption_words(const std::string& caption) {
  Words words;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  for (const char c : caption) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isspace(u) != 0) {
      finish();
    } else if (c == '-' || c == '\'' || std::ispunct(u) == 0) {
      word += static_cast<char>(std::tolower(u));
    } else {
      finish();
      words.emplace_back(1, c);
    }
  }
  finish();
  while (!words.empty() && words.back() == ".") words.pop_back();
  return words;
}

CaptionEditor::CaptionEditor(const RecordSet& records) {
  for (const Record& record : records.records())
    for (const std::string& caption : record.texts)
      for (const std::string& word : caption_words(caption)) frequency_[word] += 1;
}

std::vector<Contrast> CaptionEditor::edits(const std::vector<std::string>& captions,
                                           Random random) const {
  std::set<std::string> said;  // in any caption of the image
  for (const std::string& caption : captions)
    for (const std::string& word : caption_words(caption)) said.insert(word);
  std::vector<Contrast> contrasts;
  for (const std::string& caption : captions) {
    const Words words = caption_words(caption);
    for (const char* kind : {"colour", "number", "animal", "gender", "place", "action"})
      if (auto contrast = exchanged(words, kind, said, frequency_, random))
        contrasts.push_back(std::move(*contrast));
    if (auto contrast = swapped(words, random)) contrasts.push_back(std::move(*contrast));
  }
  return contrasts;
}

}  // namespace bifocal::training
