#include "model_free_session.h"

#include <memory>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::engine {

Tokenization Session::tokenize(std::string_view text, bool, std::int64_t) const {
  Tokenization tokenization;
  for (std::size_t i = 0; i < text.size() && i < 16; ++i) {
    Token token;
    token.id = static_cast<unsigned char>(text[i]);
    token.piece = std::string(text.substr(i, 1));
    token.begin = i;
    token.end = i + 1;
    tokenization.tokens.push_back(token);
  }
  return tokenization;
}

std::string Session::decode(std::span<const std::int64_t> ids, bool) const {
  for (const std::int64_t id : ids)
    if (id < 0 || id > 30'000) throw Error(ErrorCode::kInvalidArgument, "no such id");
  return std::string(ids.size(), 'x');
}

}  // namespace bifocal::engine

namespace bifocal::fuzz {

engine::Session model_free_session() {
  ModelInfo info;
  info.name = "none";
  info.embedding_size = 8;
  info.max_tokens = 32;
  info.label_sets = {{"colours", {"red", "green", "blue"}}};
  return engine::Session(nullptr, std::move(info), {}, false, nullptr);
}

}  // namespace bifocal::fuzz
