#include "openapi_schemas.h"

#include <initializer_list>
#include <string>
#include <utility>

namespace bifocal::http::openapi {
namespace {

using Properties = std::initializer_list<std::pair<const char*, Json>>;

Json text_of(const char* description = nullptr) {
  Json json = {{"type", "string"}, {"minLength", 1}};
  if (description != nullptr) json["description"] = description;
  return json;
}
Json words(std::initializer_list<const char*> values) {
  Json json = {{"type", "string"}, {"enum", Json::array()}};
  for (const char* value : values) json["enum"].push_back(value);
  return json;
}
Json integer(std::int64_t low, std::int64_t high = 1 << 20) {
  return {{"type", "integer"}, {"minimum", low}, {"maximum", high}};
}
Json boolean() { return {{"type", "boolean"}}; }
Json number() { return {{"type", "number"}}; }
Json list(const Json& items, std::size_t most = 0) {
  Json json = {{"type", "array"}, {"items", items}};
  if (most > 0) {
    json["minItems"] = 1;
    json["maxItems"] = most;
  }
  return json;
}
Json nullable(Json schema) {
  if (schema == Json{{"type", "null"}}) return schema;
  if (schema.contains("type") && schema["type"].is_string() && !schema.contains("enum"))
    schema["type"] = {schema["type"], "null"};
  else
    schema = {{"anyOf", {schema, {{"type", "null"}}}}};
  return schema;
}

// A body that is read: nothing but these. `required` are the first so many.
Json closed(Properties properties, std::size_t required) {
  Json json = {{"type", "object"}, {"additionalProperties", false}};
  for (const auto& [name, schema] : properties) {
    if (required > 0) {
      json["required"].push_back(name);
      --required;
      json["properties"][name] = schema;
    } else {
      json["properties"][name] = nullable(schema);
    }
  }
  return json;
}
// A body that is written: these at least.
Json open(Properties properties) {
  Json json = {{"type", "object"}};
  for (const auto& [name, schema] : properties) {
    json["required"].push_back(name);
    json["properties"][name] = schema;
  }
  return json;
}
Json any_of(std::initializer_list<Json> schemas) { return {{"anyOf", schemas}}; }

Json model_name() {
  Json name = text_of("A served name; see /v1/models. Absent or empty: the one that is served");
  name.erase("minLength");
  return name;
}
Json picture() {
  return text_of("A data URI, base64, or an http(s) URL where fetching is allowed");
}
Json ids() { return list(integer(0, INT32_MAX), 32768); }

void add_own(Json& all, std::size_t most) {
  // Types alone: what else can be wrong is the item's own error, in an answer of status 200.
  const auto any_text = [](const char* description) {
    return Json{{"type", "string"}, {"description", description}};
  };
  all["Item"] = closed(
      {{"id", any_text("The caller's own; comes back with the answer")},
       {"text", any_text("UTF-8")},
       {"token_ids", list({{"type", "integer"}})},
       {"image", any_text("A data URI, base64, or an http(s) URL where fetching is allowed")}},
      0);
  all["Item"]["description"] = "An image, a text, or both. token_ids stand for a text.";
  const Json items = list(reference("Item"), most);
  const Json side = words({"fused", "image", "text"});
  all["EmbedRequest"] = closed({{"items", items},
                                {"model", model_name()},
                                {"side", side},
                                {"long_text", words({"truncate", "windows", "keep_end", "refuse"})},
                                {"max_tokens", integer(3)},
                                {"dimensions", integer(1, 65536)},
                                {"encoding_format", words({"float", "base64"})}},
                               1);
  all["MatchRequest"] = closed({{"items", items}, {"model", model_name()}}, 1);
  all["ClassifyRequest"] = closed({{"items", items},
                                   {"model", model_name()},
                                   {"label_set", text_of()},
                                   {"top_k", integer(0, 100000)},
                                   {"side", side}},
                                  1);
  all["SearchRequest"] =
      closed({{"query", reference("Item")}, {"model", model_name()}, {"k", integer(1, 1000)}}, 1);
  all["AddRequest"] = closed({{"items", items}, {"model", model_name()}}, 1);
  all["TokenizeRequest"] = closed({{"texts", list({{"type", "string"}}, most)},
                                   {"model", model_name()},
                                   {"add_special_tokens", boolean()}},
                                  1);
  all["ItemError"] = open({{"object", words({"error"})},
                           {"index", integer(0)},
                           {"error", open({{"code", text_of()}, {"message", text_of()}})}});
  all["Vector"] = list(number());
  all["Vectors"] = list(reference("Vector"));
  const Json vector = any_of({reference("Vector"), text_of("base64 of little-endian float32")});
  const auto results = [](const Json& one) { return list(any_of({one, reference("ItemError")})); };
  all["EmbedAnswer"] = open({{"object", words({"list"})},
                             {"model", text_of()},
                             {"data", results(open({{"object", words({"embedding"})},
                                                    {"index", integer(0)},
                                                    {"embedding", vector},
                                                    {"side", side},
                                                    {"tokens", integer(0)},
                                                    {"cut_tokens", integer(0, INT32_MAX)}}))},
                             {"usage", {{"type", "object"}}}});
  all["MatchAnswer"] = open({{"object", words({"list"})},
                             {"model", text_of()},
                             {"data", results(open({{"object", words({"match"})},
                                                    {"index", integer(0)},
                                                    {"probability", number()},
                                                    {"logit", number()},
                                                    {"cosine", number()}}))}});
  const Json score = open({{"label", {{"type", "string"}}}, {"score", number()}});
  all["ClassifyAnswer"] = open({{"object", words({"list"})},
                                {"model", text_of()},
                                {"data", results(open({{"object", words({"classification"})},
                                                       {"index", integer(0)},
                                                       {"label_set", {{"type", "string"}}},
                                                       {"scores", list(score)}}))}});
  all["SearchAnswer"] =
      open({{"object", words({"list"})},
            {"model", text_of()},
            {"data", list(open({{"id", {{"type", "string"}}}, {"score", number()}}))},
            {"index", open({{"size", integer(0, INT32_MAX)}, {"approximate", boolean()}})}});
  all["AddAnswer"] = open({{"added", integer(0)}, {"errors", list({{"type", "object"}})}});
  all["RemoveAnswer"] = {{"type", "object"}};
  all["TokenizeAnswer"] = open({{"data", list({{"type", "object"}})}});
  all["Model"] = open({{"id", text_of()},
                       {"object", words({"model"})},
                       {"owned_by", text_of()},
                       {"embedding_size", integer(1)},
                       {"max_tokens", integer(1)}});
  all["ModelList"] = open({{"object", words({"list"})}, {"data", list(reference("Model"))}});
  all["Error"] = open({{"error", open({{"message", {{"type", "string"}}},
                                       {"type", {{"type", "string"}}},
                                       {"code", {{"type", "string"}}}})}});
}

void add_compatible(Json& all, std::size_t most) {
  const Json part =
      any_of({closed({{"type", words({"text"})}, {"text", text_of()}}, 2),
              closed({{"type", words({"image_url"})},
                      {"image_url", any_of({picture(), closed({{"url", picture()}}, 1)})}},
                     2),
              closed({{"type", words({"image_base64"})}, {"image_base64", picture()}}, 2)});
  all["Content"] = any_of({text_of(), list(part, 64)});

  const Json element = any_of(
      {text_of(), ids(), closed({{"text", text_of()}}, 1), closed({{"image", picture()}}, 1)});
  const Json message = closed({{"role", text_of()}, {"content", reference("Content")}}, 2);
  all["OpenAIRequest"] = any_of({closed({{"input", any_of({text_of(), ids(), list(element, most)})},
                                         {"model", model_name()},
                                         {"encoding_format", words({"float", "base64"})},
                                         {"dimensions", integer(1, 65536)},
                                         {"user", {{"type", "string"}}}},
                                        1),
                                 closed({{"messages", list(message, 64)},
                                         {"model", model_name()},
                                         {"encoding_format", words({"float", "base64"})},
                                         {"dimensions", integer(1, 65536)}},
                                        1)});
  const Json vector = any_of({reference("Vector"), text_of()});
  const Json usage = {{"type", "object"}};
  const Json data =
      list(open({{"object", words({"embedding"})}, {"index", integer(0)}, {"embedding", vector}}));
  all["OpenAIAnswer"] =
      open({{"object", words({"list"})}, {"data", data}, {"model", text_of()}, {"usage", usage}});

  const Json inputs = list(closed({{"content", reference("Content")}}, 1), most);
  all["VoyageRequest"] = closed({{"inputs", inputs},
                                 {"model", model_name()},
                                 {"input_type", words({"query", "document"})},
                                 {"truncation", boolean()},
                                 {"output_encoding", words({"base64"})},
                                 {"output_dimension", integer(1, 65536)}},
                                1);
  all["VoyageAnswer"] = all["OpenAIAnswer"];
  all["VoyageError"] = open({{"detail", {{"type", "string"}}}});

  all["CohereRequest"] =
      closed({{"model", model_name()},
              {"input_type",
               words({"search_document", "search_query", "classification", "clustering", "image"})},
              {"texts", list(text_of(), most)},
              {"images", list(text_of("A data URI"), most)},
              {"inputs", inputs},
              {"embedding_types",
               list(words({"float", "int8", "uint8", "binary", "ubinary", "base64"}), 6)},
              {"output_dimension", integer(1, 65536)},
              {"truncate", words({"NONE", "START", "END"})},
              {"max_tokens", integer(3)},
              {"priority", integer(0, 999)}},
             0);
  all["CohereRequest"]["description"] = "Exactly one of texts, images and inputs.";
  all["CohereAnswer"] = open({{"id", {{"type", "string"}}},
                              {"response_type", words({"embeddings_by_type"})},
                              {"embeddings", {{"type", "object"}}},
                              {"meta", {{"type", "object"}}}});
  all["CohereError"] = open({{"message", {{"type", "string"}}}});
}

void add_tei(Json& all, std::size_t most) {
  const Json inputs = any_of({text_of(), ids(), list(any_of({text_of(), ids()}), most)});
  const Json direction = words({"Left", "Right"});
  all["TeiInputs"] = closed({{"inputs", inputs},
                             {"truncate", boolean()},
                             {"truncation_direction", direction},
                             {"prompt_name", {{"type", "null"}}}},
                            1);
  all["TeiEmbedRequest"] = closed({{"inputs", inputs},
                                   {"truncate", boolean()},
                                   {"truncation_direction", direction},
                                   {"prompt_name", {{"type", "null"}}},
                                   {"normalize", {{"const", true}}},
                                   {"dimensions", integer(1, 65536)}},
                                  1);
  all["TeiSimilarityRequest"] =
      closed({{"inputs",
               closed({{"source_sentence", text_of()}, {"sentences", list(text_of(), most)}}, 2)},
              {"parameters", {{"type", "object"}}}},
             1);
  all["TeiRerankRequest"] = closed({{"query", text_of()},
                                    {"texts", list(text_of(), most)},
                                    {"truncate", boolean()},
                                    {"truncation_direction", direction},
                                    {"raw_scores", boolean()},
                                    {"return_text", boolean()}},
                                   2);
  all["TeiRanks"] = list(open({{"index", integer(0)}, {"score", number()}}));
  all["TeiPredictRequest"] =
      closed({{"inputs", any_of({text_of(), list(text_of(), 1), list(list(text_of(), 1), most)})},
              {"truncate", boolean()},
              {"truncation_direction", direction},
              {"raw_scores", boolean()}},
             1);
  all["TeiTokenizeRequest"] =
      closed({{"inputs", any_of({{{"type", "string"}}, list({{"type", "string"}}, most)})},
              {"add_special_tokens", boolean()},
              {"prompt_name", {{"type", "null"}}}},
             1);
  all["TeiDecodeRequest"] =
      closed({{"ids", any_of({ids(), list(ids(), most)})}, {"skip_special_tokens", boolean()}}, 1);
  all["TeiError"] = open({{"error", {{"type", "string"}}}, {"error_type", {{"type", "string"}}}});
}

void add_open_inference(Json& all) {
  const Json parameters = {{"type", "object"}};
  const Json tensor = closed({{"name", words({"text", "image", "input_ids", "attention_mask"})},
                              {"shape", list(integer(0, INT32_MAX), 2)},
                              {"datatype", words({"BYTES", "INT64"})},
                              {"data", {{"type", "array"}}},
                              {"parameters", parameters}},
                             3);
  all["InferRequest"] =
      closed({{"inputs", list(tensor, 4)},
              {"id", {{"type", "string"}}},
              {"parameters", parameters},
              {"outputs", list(closed({{"name", text_of()}, {"parameters", parameters}}, 1), 16)}},
             1);
  all["InferAnswer"] = open({{"model_name", text_of()}, {"outputs", list({{"type", "object"}})}});
  all["InferError"] = open({{"error", {{"type", "string"}}}});
}

}  // namespace

Json reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

Json timing_headers() {
  Json headers;
  const std::pair<const char*, const char*> names[] = {
      {"x-total-time", "the whole request"},
      {"x-queue-time", "waiting, mean of an item"},
      {"x-decode-time", "decoding and resizing images, mean of an item"},
      {"x-tokenization-time", "tokenising, mean of an item"},
      {"x-inference-time", "forward passes, mean of an item"}};
  for (const auto& [name, what] : names)
    headers[name] = {{"description", std::string("Milliseconds of ") + what},
                     {"schema", {{"type", "integer"}, {"minimum", 0}}}};
  return headers;
}

Json schemas(std::size_t max_items) {
  Json all = Json::object();
  add_own(all, max_items);
  add_compatible(all, max_items);
  add_tei(all, max_items);
  add_open_inference(all);
  return all;
}

}  // namespace bifocal::http::openapi
