#pragma once

#include <compare>
#include <cstddef>

namespace bifocal::engine {

// What to compute of a prepared item. Items of one task share forward passes, whoever sent them.
struct Task {
  enum class Kind {
    kEmbed,        // the vector: [e]
    kClassify,     // the logits of one label set: [labels]
    kMatch,        // of image and text: the match head's logit and the cosine of the sides: [2]
    kTokenStates,  // the text encoder's last layer, a row a token: [tokens, H]
  };
  Kind kind = Kind::kEmbed;
  std::size_t label_set = 0;  // for kClassify: which of the bundle's

  auto operator<=>(const Task&) const = default;
};

}  // namespace bifocal::engine
