// The paths of Hugging Face's Text Embeddings Inference, for the clients that know them.
// https://huggingface.github.io/text-embeddings-inference/

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "../json_body.h"
#include "bifocal/version.h"
#include "content.h"
#include "formats.h"
#include "json.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

// truncate, truncation_direction and prompt_name, which most of its requests have.
LongText read_truncation(const JsonObject& body) {
  if (body.has("prompt_name")) body.fail("prompt_name", "names a prompt, and this model has none");
  const LongText cut = body.choice<LongText>(
      "truncation_direction", {{"Right", LongText::kTruncate}, {"Left", LongText::kKeepEnd}},
      LongText::kTruncate);
  return body.optional_boolean("truncate").value_or(true) ? cut : LongText::kRefuse;
}

// A text, texts, token ids, or lists of them.
std::vector<WorkItem> read_inputs(const JsonObject& body, const RequestLimits& limits) {
  const nlohmann::json& inputs = body.at("inputs");
  std::vector<WorkItem> items;
  if (inputs.is_array() && !is_token_ids(inputs)) {
    require_items(inputs.size(), 0, "inputs", limits);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      items.push_back(read_text(inputs[i], "inputs[" + std::to_string(i) + "]"));
  } else {
    items.push_back(read_text(inputs, "inputs"));
  }
  return items;
}

std::vector<WorkItem> read_texts(const nlohmann::json& texts, const std::string& where,
                                 const RequestLimits& limits) {
  require_items(texts.size(), 0, where, limits);
  std::vector<WorkItem> items;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].is_string())
      throw Error(ErrorCode::kInvalidArgument,
                  where + "[" + std::to_string(i) + "] is not a string");
    items.push_back(read_text(texts[i], where));
  }
  return items;
}

// --- /embed and /embed_all ----------------------------------------------------------------------

Work read_embed(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown(
      {"inputs", "truncate", "truncation_direction", "prompt_name", "normalize", "dimensions"});
  if (!body.optional_boolean("normalize").value_or(true))
    body.fail("normalize", "cannot be false: this model's vectors have length 1 by its making");
  std::size_t dimensions = 0;
  if (const auto size = body.optional_integer("dimensions", 1, 1 << 20))
    dimensions = require_dimensions(*size, context);
  EmbedWork work;
  work.items = read_inputs(body, context.limits);
  work.options.long_text = read_truncation(body);
  work.write = [dimensions](const Context&, std::vector<Result<Embedding>> results) {
    throw_first_error(results, "inputs");
    AnswerJson answer = AnswerJson::array();
    for (auto& result : results)
      answer.push_back(shorten(std::move(result).value().values, dimensions));
    return json_response(answer);
  };
  return work;
}

Work read_embed_all(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"inputs", "truncate", "truncation_direction", "prompt_name"});
  TokenStatesWork work;
  work.items = read_inputs(body, context.limits);
  work.options.long_text = read_truncation(body);
  work.write = [](const Context&, const std::vector<Result<engine::TokenStates>>& results) {
    throw_first_error(results, "inputs");
    AnswerJson answer = AnswerJson::array();
    for (const auto& result : results) {
      const engine::TokenStates& states = result.value();
      AnswerJson tokens = AnswerJson::array();
      for (auto row = states.values.begin(); row != states.values.end();
           row += static_cast<std::ptrdiff_t>(states.hidden_size))
        tokens.push_back(
            std::vector<float>(row, row + static_cast<std::ptrdiff_t>(states.hidden_size)));
      answer.push_back(std::move(tokens));
    }
    return json_response(answer);
  };
  return work;
}

// --- /similarity and /rerank --------------------------------------------------------------------

// The first vector's cosine with each of the others.
std::vector<float> cosines(std::vector<Result<Embedding>> results) {
  throw_first_error(results, "inputs");
  const std::vector<float>& query = results.front().value().values;
  std::vector<float> all;
  for (std::size_t i = 1; i < results.size(); ++i) {
    const std::vector<float>& other = results[i].value().values;
    all.push_back(std::inner_product(query.begin(), query.end(), other.begin(), 0.0F));
  }
  return all;
}

Work read_similarity(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"inputs", "parameters"});
  EmbedWork work;
  if (body.has("parameters")) {
    const JsonObject parameters(body.at("parameters"), "parameters");
    parameters.refuse_unknown({"truncate", "truncation_direction", "prompt_name"});
    work.options.long_text = read_truncation(parameters);
  }
  const JsonObject inputs(body.at("inputs"), "inputs");
  inputs.refuse_unknown({"source_sentence", "sentences"});
  work.items = read_texts(inputs.array("sentences"), "inputs.sentences", context.limits);
  WorkItem source;
  source.item.text = inputs.string("source_sentence");
  work.items.insert(work.items.begin(), std::move(source));
  work.write = [](const Context&, std::vector<Result<Embedding>> results) {
    return json_response(AnswerJson(cosines(std::move(results))));
  };
  return work;
}

struct RerankForm {
  std::vector<std::string> texts;
  bool raw_scores = false;
  bool return_text = false;
};

Response write_ranks(const RerankForm& form, const std::vector<float>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  AnswerJson answer = AnswerJson::array();
  for (const std::size_t index : order) {
    AnswerJson one = {{"index", index}, {"score", scores[index]}};
    if (form.return_text) one["text"] = form.texts[index];
    answer.push_back(std::move(one));
  }
  return json_response(answer);
}

// An image's texts are ranked by the match head, a text's by their cosine with it.
Work read_rerank(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown(
      {"query", "texts", "truncate", "truncation_direction", "raw_scores", "return_text"});
  const std::string& query = body.string("query");
  RerankForm form;
  form.raw_scores = body.optional_boolean("raw_scores").value_or(false);
  form.return_text = body.optional_boolean("return_text").value_or(false);
  const LongText long_text = read_truncation(body);
  std::vector<WorkItem> items = read_texts(body.array("texts"), "texts", context.limits);
  for (const WorkItem& item : items) form.texts.push_back(*item.item.text);

  if (query.starts_with("data:")) {
    if (long_text != LongText::kTruncate)
      body.fail("truncate", "cannot be chosen where an image is the query: texts are cut");
    require_items(items.size(), items.size(), "texts", context.limits);
    WorkItem image;
    read_image(query, "query", context.limits, image);
    if (image.error) throw *image.error;
    for (WorkItem& item : items) item.item.image = image.item.image;
    MatchWork work;
    work.items = std::move(items);
    work.write = [form = std::move(form)](const Context&,
                                          const std::vector<Result<Match>>& results) {
      throw_first_error(results, "texts");
      std::vector<float> scores;
      scores.reserve(results.size());
      for (const auto& result : results)
        scores.push_back(form.raw_scores ? result.value().logit : result.value().probability);
      return write_ranks(form, scores);
    };
    return work;
  }
  EmbedWork work;
  work.options.long_text = long_text;
  work.items = std::move(items);
  WorkItem first;
  first.item.text = query;
  work.items.insert(work.items.begin(), std::move(first));
  work.write = [form = std::move(form)](const Context&, std::vector<Result<Embedding>> results) {
    std::vector<float> scores = cosines(std::move(results));
    if (!form.raw_scores)
      for (float& score : scores) score = std::clamp((1 + score) / 2, 0.0F, 1.0F);
    return write_ranks(form, scores);
  };
  return work;
}

// --- /predict -----------------------------------------------------------------------------------

// "a text", ["a text"], or a batch [["a text"], ...]; two in one list are a pair.
Work read_predict(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"inputs", "truncate", "truncation_direction", "raw_scores"});
  if (body.optional_boolean("raw_scores").value_or(false))
    body.fail("raw_scores", "cannot be true: scores here are probabilities");
  if (read_truncation(body) != LongText::kTruncate)
    body.fail("truncate", "cannot be chosen here: long texts lose their end");
  const nlohmann::json& inputs = body.at("inputs");
  const auto one = [](const nlohmann::json& value, const std::string& where) {
    if (value.is_string()) return read_text(value, where);
    if (!value.is_array() || value.size() != 1 || !value.front().is_string())
      throw Error(ErrorCode::kInvalidArgument,
                  where +
                      " is neither a string nor a list of one; pairs are not classified here, and "
                      "a batch is a list of lists");
    return read_text(value.front(), where);
  };
  const bool batch = inputs.is_array() && !inputs.empty() && inputs.front().is_array();
  ClassifyWork work;
  work.options.side = Side::kText;
  work.options.top_k = 0;
  if (batch) {
    require_items(inputs.size(), 0, "inputs", context.limits);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      work.items.push_back(one(inputs[i], "inputs[" + std::to_string(i) + "]"));
  } else {
    work.items.push_back(one(inputs, "inputs"));
  }
  work.write = [batch](const Context&, const std::vector<Result<Classification>>& results) {
    throw_first_error(results, "inputs");
    AnswerJson answer = AnswerJson::array();
    for (const auto& result : results) {
      AnswerJson scores = AnswerJson::array();
      for (const LabelScore& score : result.value().scores)
        scores.push_back({{"score", score.score}, {"label", score.label}});
      answer.push_back(std::move(scores));
    }
    return json_response(batch ? answer : answer.front());
  };
  return work;
}

// --- /tokenize, /decode and /info ---------------------------------------------------------------

Work read_tokenize(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"inputs", "add_special_tokens", "prompt_name"});
  if (body.has("prompt_name")) body.fail("prompt_name", "names a prompt, and this model has none");
  const bool specials = body.optional_boolean("add_special_tokens").value_or(true);
  std::vector<std::string> texts;
  if (body.at("inputs").is_string()) {
    texts.push_back(body.string("inputs"));
  } else {
    for (WorkItem& item : read_texts(body.array("inputs"), "inputs", context.limits))
      texts.push_back(*std::move(item.item.text));
  }
  return SlowWork{[texts = std::move(texts), specials, &session = context.session] {
    AnswerJson answer = AnswerJson::array();
    for (const std::string& text : texts) {
      AnswerJson tokens = AnswerJson::array();
      for (const Token& token : session.tokenize(text, specials, -1).tokens) {
        AnswerJson one = {{"id", token.id}};
        one["text"] =
            token.special ? token.piece : text.substr(token.begin, token.end - token.begin);
        one["special"] = token.special;
        one["start"] = token.special ? AnswerJson() : AnswerJson(token.begin);
        one["stop"] = token.special ? AnswerJson() : AnswerJson(token.end);
        tokens.push_back(std::move(one));
      }
      answer.push_back(std::move(tokens));
    }
    return json_response(answer);
  }};
}

Work read_decode(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"ids", "skip_special_tokens"});
  const bool skip = body.optional_boolean("skip_special_tokens").value_or(true);
  const nlohmann::json& ids = body.array("ids");
  std::vector<std::vector<std::int64_t>> texts;
  if (is_token_ids(ids)) {
    texts.push_back(read_token_ids(ids, "ids"));
  } else {
    require_items(ids.size(), 0, "ids", context.limits);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string where = "ids[" + std::to_string(i) + "]";
      if (!is_token_ids(ids[i]))
        throw Error(ErrorCode::kInvalidArgument, where + " is not a list of token ids");
      texts.push_back(read_token_ids(ids[i], where));
    }
  }
  return SlowWork{[texts = std::move(texts), skip, &session = context.session] {
    AnswerJson answer = AnswerJson::array();
    for (const auto& text : texts) answer.push_back(session.decode(text, skip));
    return json_response(answer);
  }};
}

Work read_info(const Request&, const Context& context) {
  const ModelInfo& model = context.session.info();
  AnswerJson answer = {{"model_id", model.name},
                       {"model_sha", nullptr},
                       {"model_dtype", "float32"},
                       {"served_model_name", context.model_names.front()}};
  answer["model_type"] = {{"embedding", {{"pooling", "fusion"}}}};
  answer["max_concurrent_requests"] = context.limits.max_items;
  answer["max_input_length"] = model.max_tokens;
  answer["max_batch_tokens"] = nullptr;
  answer["max_batch_requests"] = nullptr;
  answer["max_client_batch_size"] = context.limits.max_items;
  answer["auto_truncate"] = true;
  answer["tokenization_workers"] = nullptr;
  answer["version"] = BIFOCAL_VERSION;
  answer["sha"] = nullptr;
  answer["docker_label"] = nullptr;
  return json_response(answer);
}

const char* type_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kOverloaded:
    case ErrorCode::kRateLimited:
      return "Overloaded";
    case ErrorCode::kUnavailable:
      return "Unhealthy";
    case ErrorCode::kInvalidText:
      return "Tokenizer";
    case ErrorCode::kInternal:
      return "Backend";
    default:
      return traits(error.code()).http_status < 500 ? "Validation" : "Backend";
  }
}

std::string write_error(const Error& error, const Request&) {
  return text_of({{"error", error.message()}, {"error_type", type_of(error)}});
}

}  // namespace

std::vector<Route> tei_routes() {
  return {{"POST", "/embed", "embed", read_embed, write_error},
          {"POST", "/embed_all", "embed_all", read_embed_all, write_error},
          {"POST", "/similarity", "similarity", read_similarity, write_error},
          {"POST", "/rerank", "rerank", read_rerank, write_error},
          {"POST", "/predict", "predict", read_predict, write_error},
          {"POST", "/tokenize", "tokenize", read_tokenize, write_error},
          {"POST", "/decode", "decode", read_decode, write_error},
          {"GET", "/info", "info", read_info, write_error}};
}

}  // namespace bifocal::http::wire
