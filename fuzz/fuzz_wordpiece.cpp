#include "text/wordpiece.h"
#include "tokenizing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bifocal;
  if (size == 0) return 0;
  // The first byte chooses between BERT's two families.
  const auto [vocabulary, text] = fuzz::divided(data + 1, size - 1);
  fuzz::answered([&, vocabulary = vocabulary, text = text] {
    const core::JsonConfig settings({{"do_lower_case", data[0] % 2 == 0}}, "settings");
    const text::WordPieceTokenizer tokenizer(
        text::WordPieceConfig::from_vocabulary(vocabulary, "fuzz", settings));
    fuzz::check_tokenizer(tokenizer, text);
  });
  return 0;
}
