// POST /v2/embed as Cohere's API has it: texts, images, or inputs whose content is fused.
// https://docs.cohere.com/reference/embed

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "../json_body.h"
#include "content.h"
#include "core/data_uri.h"
#include "formats.h"
#include "json.h"
#include "reading.h"
#include "vision/codec.h"

namespace bifocal::http::wire {
namespace {

constexpr std::array<std::string_view, 6> kEncodings{"float",  "int8",    "uint8",
                                                     "binary", "ubinary", "base64"};

struct CohereRequest {
  EmbedWork work;
  std::vector<std::string> encodings;
  std::size_t dimensions = 0;
  std::vector<std::string> texts;         // echoed
  std::vector<AnswerJson> image_headers;  // echoed: width, height, format
};

AnswerJson describe_image(const WorkItem& item) {
  if (!item.item.image) return AnswerJson::object();
  try {
    const vision::ImageHeader header = vision::read_header(*item.item.image);
    return {{"width", header.width},
            {"height", header.height},
            {"format", std::string(vision::name_of(header.format))},
            {"bit_depth", 24}};
  } catch (const Error&) {
    return AnswerJson::object();  // its own error comes when it is decoded
  }
}

void read_texts(const JsonObject& body, CohereRequest& request) {
  if (!body.has("texts")) return;
  const nlohmann::json& texts = body.array("texts");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].is_string()) body.fail("texts", "[" + std::to_string(i) + "] is not a string");
    WorkItem item;
    item.item.text = texts[i].get<std::string>();
    request.texts.push_back(*item.item.text);
    request.work.items.push_back(std::move(item));
  }
}

void read_images(const JsonObject& body, const RequestLimits& limits, CohereRequest& request) {
  if (!body.has("images")) return;
  const nlohmann::json& images = body.array("images");
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string where = "images[" + std::to_string(i) + "]";
    if (!images[i].is_string() || !core::is_data_uri(images[i].get_ref<const std::string&>()))
      throw Error(ErrorCode::kInvalidArgument, where + " is not a data URI");
    WorkItem item;
    read_image(images[i].get_ref<const std::string&>(), where, limits, item);
    request.image_headers.push_back(describe_image(item));
    request.work.items.push_back(std::move(item));
  }
}

void read_inputs(const JsonObject& body, const RequestLimits& limits, CohereRequest& request) {
  if (!body.has("inputs")) return;
  const nlohmann::json& inputs = body.array("inputs");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const JsonObject input(inputs[i], "inputs[" + std::to_string(i) + "]");
    input.refuse_unknown({"content"});
    request.work.items.push_back(read_content(input.at("content"), input.place("content"), limits));
    if (request.work.items.back().item.image)
      request.image_headers.push_back(describe_image(request.work.items.back()));
  }
}

void read_encodings(const JsonObject& body, CohereRequest& request) {
  if (!body.has("embedding_types")) {
    request.encodings = {"float"};
    return;
  }
  for (const nlohmann::json& type : body.array("embedding_types")) {
    const std::string name = type.is_string() ? type.get<std::string>() : type.dump();
    if (std::find(kEncodings.begin(), kEncodings.end(), name) == kEncodings.end())
      body.fail("embedding_types",
                "has \"" + name + "\"; this gives: float, int8, uint8, binary, ubinary, base64");
    request.encodings.push_back(name);
  }
  if (request.encodings.empty()) body.fail("embedding_types", "is empty");
}

CohereRequest read_request(const Request& given, const Context& context) {
  const nlohmann::json json = parse_json(given.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"model", "input_type", "texts", "images", "inputs", "embedding_types",
                       "output_dimension", "truncate", "max_tokens", "priority"});
  require_model(body.optional_string("model").value_or(""), context);
  CohereRequest request;
  // The model has one space for queries and documents: each input type gives the same vector.
  body.choice<int>("input_type",
                   {{"search_document", 0},
                    {"search_query", 0},
                    {"classification", 0},
                    {"clustering", 0},
                    {"image", 0}},
                   0);
  body.optional_integer("priority", 0, 999);
  if (body.has("texts") + body.has("images") + body.has("inputs") != 1)
    throw Error(ErrorCode::kInvalidArgument,
                "the body needs exactly one of texts, images and inputs");
  read_texts(body, request);
  read_images(body, context.limits, request);
  read_inputs(body, context.limits, request);
  const auto images =
      std::count_if(request.work.items.begin(), request.work.items.end(),
                    [](const WorkItem& item) { return item.item.image || item.image_url; });
  require_items(request.work.items.size(), static_cast<std::size_t>(images), "inputs",
                context.limits);
  read_encodings(body, request);
  if (const auto size = body.optional_integer("output_dimension", 1, 1 << 20))
    request.dimensions = require_dimensions(*size, context);
  request.work.options.long_text = body.choice<LongText>(
      "truncate",
      {{"END", LongText::kTruncate}, {"START", LongText::kKeepEnd}, {"NONE", LongText::kRefuse}},
      LongText::kTruncate);
  request.work.options.max_tokens = body.optional_integer("max_tokens", 3, 1 << 20).value_or(0);
  return request;
}

AnswerJson encoded(const std::string& encoding, const std::vector<float>& vector) {
  if (encoding == "int8") return to_int8(vector);
  if (encoding == "uint8") return to_uint8(vector);
  if (encoding == "binary") return to_binary(vector);
  if (encoding == "ubinary") return to_ubinary(vector);
  if (encoding == "base64") return base64_floats(vector);
  return vector;
}

Response write_answer(const CohereRequest& request, const std::string& id,
                      std::vector<Result<Embedding>> results) {
  throw_first_error(results, request.texts.empty() ? "inputs" : "texts");
  const Usage usage = usage_of(results);
  AnswerJson embeddings = AnswerJson::object();
  for (const std::string& encoding : request.encodings) embeddings[encoding] = AnswerJson::array();
  for (Result<Embedding>& result : results) {
    const std::vector<float> vector = shorten(std::move(result).value().values, request.dimensions);
    for (const std::string& encoding : request.encodings)
      embeddings[encoding].push_back(encoded(encoding, vector));
  }
  AnswerJson answer = {{"id", id},
                       {"response_type", "embeddings_by_type"},
                       {"embeddings", std::move(embeddings)},
                       {"texts", request.texts},
                       {"images", request.image_headers}};
  answer["meta"] = {{"api_version", {{"version", "2"}}},
                    {"billed_units", {{"input_tokens", usage.tokens}, {"images", usage.images}}},
                    {"warnings", AnswerJson::array()}};
  return json_response(answer);
}

Work read(const Request& given, const Context& context) {
  auto request = std::make_shared<CohereRequest>(read_request(given, context));
  EmbedWork work = std::move(request->work);
  work.write = [request, id = given.id](const Context&, std::vector<Result<Embedding>> results) {
    return write_answer(*request, id, std::move(results));
  };
  return work;
}

std::string write_error(const Error& error, const Request& request) {
  return text_of({{"id", request.id}, {"message", error.message()}});
}

}  // namespace

std::vector<Route> cohere_routes() { return {{"POST", "/v2/embed", "embed", read, write_error}}; }

}  // namespace bifocal::http::wire
