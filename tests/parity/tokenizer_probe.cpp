// tokenizer_probe <tokenizer directory> <requests.jsonl>
// A request a line, an answer a line:
//   {"text", "pair"?, "max_tokens"?, "special"?}  {"ids", "type_ids", "spans", "special", "cut"}
//   {"text", "windows": max_tokens}               {"windows": [ids, ...]}
//   {"decode": ids, "skip_special"}               {"text"}
// and {"error": code} where one was thrown. Spans are in bytes.

#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "bifocal/error.h"
#include "text/tokenizer.h"

namespace {

using nlohmann::json;

json described(const bifocal::text::Encoding& encoding) {
  json spans = json::array();
  for (const auto& span : encoding.spans) spans.push_back({span.begin, span.end});
  return {{"ids", encoding.ids},
          {"type_ids", encoding.type_ids},
          {"spans", std::move(spans)},
          {"special", encoding.special},
          {"cut", encoding.cut_tokens}};
}

json answer(const bifocal::text::Tokenizer& tokenizer, const json& request) {
  if (request.contains("decode"))
    return {{"text", tokenizer.decode(request["decode"].get<std::vector<std::int64_t>>(),
                                      request.value("skip_special", true))}};
  const auto text = request["text"].get<std::string>();
  if (request.contains("windows")) {
    json windows = json::array();
    for (const auto& window :
         tokenizer.encode_windows(text, {request["windows"].get<std::size_t>(), true}))
      windows.push_back(window.ids);
    return {{"windows", std::move(windows)}};
  }
  const bifocal::text::EncodeOptions options{request.value("max_tokens", std::size_t{0}),
                                             request.value("special", true)};
  return described(request.contains("pair")
                       ? tokenizer.encode_pair(text, request["pair"].get<std::string>(), options)
                       : tokenizer.encode(text, options));
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  const auto tokenizer = bifocal::text::load_tokenizer(argv[1]);
  std::ifstream requests(argv[2]);
  for (std::string line; std::getline(requests, line);) {
    json result;
    try {
      result = answer(*tokenizer, json::parse(line));
    } catch (const bifocal::Error& error) {
      result = {{"error", bifocal::traits(error.code()).name}};
    }
    std::cout << result.dump(-1, ' ', /*ensure_ascii=*/true) << '\n';
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "tokenizer_probe: %s\n", error.what());
  return 1;
}
