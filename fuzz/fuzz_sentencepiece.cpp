#include "text/sentencepiece.h"
#include "tokenizing.h"

// The last two bytes: the ids and how long the text before them is; the rest is the model.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bifocal;
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data), size - 2);
  const std::size_t text_size = std::min<std::size_t>(data[size - 1], rest.size());
  const std::string_view model = rest.substr(0, rest.size() - text_size);
  const std::string_view text = rest.substr(rest.size() - text_size);
  fuzz::answered([&] {
    text::SentencePieceOptions options;
    options.ids = data[size - 2] % 2 == 0 ? text::SentencePieceIds::kPlain
                                          : text::SentencePieceIds::kXlmRoberta;
    const auto tokenizer = text::SentencePieceTokenizer::parse(model, "fuzz", options);
    fuzz::check_tokenizer(*tokenizer, text);
  });
  return 0;
}
