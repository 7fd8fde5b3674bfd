#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "command.h"
#include "interrupt.h"
#include "json_lines.h"
#include "line_reader.h"
#include "model_options.h"
#include "output.h"
#include "record_run.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal tokenize --text "A smiling woman"       a table
  bifocal tokenize --input captions.txt --json    one JSON object a line of the file
  echo "A smiling woman" | bifocal tokenize       standard input, where nothing else is named

The pieces are those that `bifocal embed` reads, special ones included, cut where it cuts. Spans are
bytes [begin, end) of the text as given, [0, 0] for a special piece. A line that is not UTF-8 is
reported in its place, and the exit code is then 65.)";

constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;

struct TokenizeCommand {
  ModelOptions model;
  std::optional<std::string> text;
  std::filesystem::path input;
  bool json = false;
};

void append_json_tokens(std::string& line, const Tokenization& tokenization) {
  nlohmann::json ids = nlohmann::json::array();
  nlohmann::json pieces = nlohmann::json::array();
  nlohmann::json spans = nlohmann::json::array();
  for (const Token& token : tokenization.tokens) {
    ids.push_back(token.id);
    pieces.push_back(token.piece);
    spans.push_back({token.begin, token.end});
  }
  line += "\"ids\":";
  append_json(line, ids);
  line += ",\"pieces\":";
  append_json(line, pieces);
  line += ",\"spans\":";
  append_json(line, spans);
  line += ",\"cut_tokens\":" + std::to_string(tokenization.cut_tokens);
}

std::string padded(std::string text, std::size_t width) {
  // By characters, so that accents do not shift the columns.
  const auto characters = static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
  text.append(width - std::min(width, characters), ' ');
  return text;
}

std::string table(std::string_view text, const Tokenization& tokenization) {
  std::string rows = padded("id", 9) + padded("piece", 20) + padded("bytes", 14) + "text\n";
  for (const Token& token : tokenization.tokens) {
    rows += padded(std::to_string(token.id), 9) + padded(token.piece, 20);
    if (token.special)
      rows += "-";
    else
      rows += padded(std::to_string(token.begin) + "-" + std::to_string(token.end), 14) +
              std::string(text.substr(token.begin, token.end - token.begin));
    rows += '\n';
  }
  rows += std::to_string(tokenization.tokens.size()) + " tokens, " +
          std::to_string(tokenization.cut_tokens) + " cut\n";
  return rows;
}

class TokenWriter {
 public:
  explicit TokenWriter(bool json) : json_(json) {}

  void write(const std::string& id, std::string_view text, const Result<Tokenization>& result) {
    ++(result.ok() ? tally_.done : tally_.failed);
    if (!json_) {
      write_table(id, text, result);
      return;
    }
    std::string line = "{\"id\":\"" + id + "\",";
    if (result.ok()) {
      append_json_tokens(line, result.value());
    } else {
      line += "\"error\":";
      append_error(line, result.error());
    }
    output_.write(line + "}\n");
  }
  void flush() { output_.flush(); }
  const Tally& tally() const noexcept { return tally_; }

 private:
  void write_table(const std::string& id, std::string_view text,
                   const Result<Tokenization>& result) {
    if (tally_.done + tally_.failed > 1) output_.write("\n");
    if (result.ok())
      output_.write(table(text, result.value()));
    else
      output_.write("line " + id + ": " + result.error().message() + "\n");
  }

  bool json_;
  Output output_{"-"};
  Tally tally_;
};

int tokenize_lines(const TokenizeCommand& command) {
  const Interrupt interrupt;
  LineReader lines(command.input.empty() ? "-" : command.input, kMaxLineBytes, interrupt);
  const Model model = load_model(command.model);
  TokenWriter writer(command.json);
  std::string line;
  for (;;) {
    if (lines.would_wait()) writer.flush();
    const LineReader::Outcome outcome = lines.next(line);
    if (outcome == LineReader::Outcome::kEnd || interrupt.requested()) break;
    const std::string id = std::to_string(lines.line_number());
    if (outcome == LineReader::Outcome::kTooLong)
      writer.write(id, line, Error(ErrorCode::kInvalidText, "the line is longer than 16 MiB"));
    else
      writer.write(id, line, model.tokenize(line));
  }
  writer.flush();
  if (writer.tally().failed > 0) report(writer.tally(), {}, interrupt.requested());
  return interrupt.requested() ? interrupt.exit_code() : exit_code(writer.tally());
}

int run(const TokenizeCommand& command) {
  if (!command.text) return tokenize_lines(command);
  if (!command.input.empty())
    throw Error(ErrorCode::kInvalidArgument, "give --text or --input, not both");
  const Result<Tokenization> result = load_model(command.model).tokenize(*command.text);
  TokenWriter writer(command.json);
  writer.write("1", *command.text, result.value());
  writer.flush();
  return 0;
}

}  // namespace

Command add_tokenize(CLI::App& root) {
  CLI::App* app = root.add_subcommand("tokenize", "Show the pieces that a text is read as");
  app->footer(kFooter);
  auto command = std::make_shared<TokenizeCommand>();
  app->add_option("--text", command->text, "A text in UTF-8")->type_name("TEXT");
  app->add_option("--input", command->input, "Texts, one a line; - reads standard input")
      ->type_name("FILE");
  app->add_flag("--json", command->json,
                "Write {\"id\", \"ids\", \"pieces\", \"spans\", \"cut_tokens\"}");
  add_model_option(*app, command->model);
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
