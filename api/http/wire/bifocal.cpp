// Our own API: items of an image, a text, or both, each answered in its place.

#include <memory>
#include <utility>

#include "formats.h"
#include "items.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

AnswerJson list_of(const Context& context) {
  return {
      {"object", "list"}, {"model", context.model_names.front()}, {"data", AnswerJson::array()}};
}

const char* name_of(Side side) {
  return side == Side::kFused ? "fused" : side == Side::kImage ? "image" : "text";
}

Side read_side(const JsonObject& body) {
  return body.choice<Side>(
      "side", {{"fused", Side::kFused}, {"image", Side::kImage}, {"text", Side::kText}},
      Side::kFused);
}

// --- /v1/fused/embeddings -----------------------------------------------------------------------

void add_provenance(const Provenance& provenance, AnswerJson& one) {
  one["side"] = name_of(provenance.side);
  one["tokens"] = provenance.tokens;
  one["cut_tokens"] = provenance.cut_tokens;
  one["windows"] = provenance.windows;
  if (provenance.image_width > 0)
    one["image"] = {{"width", provenance.image_width}, {"height", provenance.image_height}};
}

struct EmbedForm {
  std::vector<std::string> ids;
  bool base64 = false;
  std::size_t dimensions = 0;
};

Response write_embeddings(const EmbedForm& form, const Context& context,
                          std::vector<Result<Embedding>> results) {
  const Usage usage = usage_of(results);
  AnswerJson answer = list_of(context);
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].ok()) {
      answer["data"].push_back(item_error(i, form.ids[i], results[i].error()));
      continue;
    }
    Embedding embedding = std::move(results[i]).value();
    const std::vector<float> vector = shorten(std::move(embedding.values), form.dimensions);
    AnswerJson one = entry("embedding", i, form.ids[i]);
    one["embedding"] = form.base64 ? AnswerJson(base64_floats(vector)) : AnswerJson(vector);
    add_provenance(embedding.provenance, one);
    answer["data"].push_back(std::move(one));
  }
  answer["usage"] = {
      {"prompt_tokens", usage.tokens}, {"images", usage.images}, {"total_tokens", usage.tokens}};
  return json_response(answer);
}

Work read_embed(const Request& request, const Context& context) {
  OwnRequest read = read_own_request(
      request, context, {"side", "long_text", "max_tokens", "dimensions", "encoding_format"});
  const JsonObject body(read.json);
  EmbedForm form{ids_of(read.items)};
  EmbedWork work;
  work.options.side = read_side(body);
  work.options.long_text = body.choice<LongText>("long_text",
                                                 {{"truncate", LongText::kTruncate},
                                                  {"windows", LongText::kWindows},
                                                  {"keep_end", LongText::kKeepEnd},
                                                  {"refuse", LongText::kRefuse}},
                                                 LongText::kTruncate);
  work.options.max_tokens = body.optional_integer("max_tokens", 3, 1 << 20).value_or(0);
  if (const auto size = body.optional_integer("dimensions", 1, 1 << 20))
    form.dimensions = require_dimensions(*size, context);
  form.base64 = body.choice<bool>("encoding_format", {{"float", false}, {"base64", true}}, false);
  work.items = std::move(read.items);
  work.write = [form = std::move(form)](const Context& at, std::vector<Result<Embedding>> results) {
    return write_embeddings(form, at, std::move(results));
  };
  return work;
}

// --- /v1/match and /v1/classify -----------------------------------------------------------------

Work read_match(const Request& request, const Context& context) {
  OwnRequest read = read_own_request(request, context, {});
  MatchWork work;
  work.write = [ids = ids_of(read.items)](const Context& at, std::vector<Result<Match>> results) {
    AnswerJson answer = list_of(at);
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i].ok()) {
        answer["data"].push_back(item_error(i, ids[i], results[i].error()));
        continue;
      }
      const Match& match = results[i].value();
      AnswerJson one = entry("match", i, ids[i]);
      one["probability"] = match.probability;
      one["logit"] = match.logit;
      one["cosine"] = match.cosine;
      answer["data"].push_back(std::move(one));
    }
    return json_response(answer);
  };
  work.items = std::move(read.items);
  return work;
}

Work read_classify(const Request& request, const Context& context) {
  OwnRequest read = read_own_request(request, context, {"label_set", "top_k", "side"});
  const JsonObject body(read.json);
  ClassifyWork work;
  work.options.label_set = body.optional_string("label_set").value_or("");
  work.options.top_k =
      static_cast<std::size_t>(body.optional_integer("top_k", 0, 100'000).value_or(5));
  work.options.side = read_side(body);
  work.write = [ids = ids_of(read.items)](const Context& at,
                                          std::vector<Result<Classification>> results) {
    AnswerJson answer = list_of(at);
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (!results[i].ok()) {
        answer["data"].push_back(item_error(i, ids[i], results[i].error()));
        continue;
      }
      AnswerJson one = entry("classification", i, ids[i]);
      one["label_set"] = results[i].value().label_set;
      one["scores"] = AnswerJson::array();
      for (const LabelScore& score : results[i].value().scores)
        one["scores"].push_back({{"label", score.label}, {"score", score.score}});
      answer["data"].push_back(std::move(one));
    }
    return json_response(answer);
  };
  work.items = std::move(read.items);
  return work;
}

// --- /v1/tokenize and /v1/models ----------------------------------------------------------------

AnswerJson tokens_of(const Tokenization& tokenization) {
  AnswerJson tokens = AnswerJson::array();
  for (const Token& token : tokenization.tokens)
    tokens.push_back({{"id", token.id},
                      {"piece", token.piece},
                      {"begin", token.begin},
                      {"end", token.end},
                      {"special", token.special}});
  return tokens;
}

Work read_tokenize(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"texts", "model", "add_special_tokens"});
  require_model(body.optional_string("model").value_or(""), context);
  const bool specials = body.optional_boolean("add_special_tokens").value_or(true);
  const nlohmann::json& texts = body.array("texts");
  require_items(texts.size(), 0, "texts", context.limits);
  std::vector<std::string> wanted;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].is_string())
      throw Error(ErrorCode::kInvalidArgument, "texts[" + std::to_string(i) + "] is not a string");
    wanted.push_back(texts[i].get<std::string>());
  }
  return SlowWork{[wanted = std::move(wanted), specials, &session = context.session] {
    AnswerJson data = AnswerJson::array();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Tokenization tokenization = session.tokenize(wanted[i], specials);
      data.push_back({{"index", i},
                      {"tokens", tokens_of(tokenization)},
                      {"cut_tokens", tokenization.cut_tokens}});
    }
    AnswerJson answer = {{"object", "list"}, {"data", std::move(data)}};
    return json_response(answer);
  }};
}

AnswerJson describe(const std::string& name, const ModelInfo& model) {
  AnswerJson json = {{"id", name},
                     {"object", "model"},
                     {"created", 0},
                     {"owned_by", "bifocal"},
                     {"bundle", model.name},
                     {"licence", model.licence},
                     {"embedding_size", model.embedding_size},
                     {"max_tokens", model.max_tokens}};
  json["image_size"] = {model.image_height, model.image_width};
  json["label_sets"] = AnswerJson::array();
  for (const LabelSetInfo& set : model.label_sets)
    json["label_sets"].push_back({{"name", set.name}, {"labels", set.labels}});
  json["parts"] = AnswerJson::array();
  for (const PartInfo& part : model.parts)
    json["parts"].push_back({{"name", part.name},
                             {"architecture", part.architecture},
                             {"parameters", part.parameters},
                             {"multiply_adds", part.multiply_adds}});
  return json;
}

Work list_models(const Request&, const Context& context) {
  AnswerJson answer = {{"object", "list"}, {"data", AnswerJson::array()}};
  answer["data"].push_back(describe(context.model_names.front(), context.session.info()));
  return json_response(answer);
}

Work get_model(const Request& request, const Context& context) {
  const std::string name(request.path_value("model"));
  require_model(name, context);
  return json_response(describe(name, context.session.info()));
}

}  // namespace

std::vector<Route> bifocal_routes() {
  return {{"POST", "/v1/fused/embeddings", "embed", read_embed, write_openai_error},
          {"POST", "/v1/match", "match", read_match, write_openai_error},
          {"POST", "/v1/classify", "classify", read_classify, write_openai_error},
          {"POST", "/v1/tokenize", "tokenize", read_tokenize, write_openai_error},
          {"GET", "/v1/models", "models", list_models, write_openai_error},
          {"GET", "/v1/models/{model}", "models", get_model, write_openai_error}};
}

}  // namespace bifocal::http::wire
