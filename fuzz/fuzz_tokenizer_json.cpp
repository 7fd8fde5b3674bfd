#include "text/wordpiece.h"
#include "tokenizing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bifocal;
  const auto [document, text] = fuzz::divided(data, size);
  fuzz::answered([&, document = document, text = text] {
    const text::WordPieceTokenizer tokenizer(
        text::WordPieceConfig::from_tokenizer_json(core::JsonConfig::parse(document, "fuzz")));
    fuzz::check_tokenizer(tokenizer, text);
  });
  return 0;
}
