// POST /v1/multimodalembeddings as Voyage's API has it: each input's content is fused.
// https://docs.voyageai.com/reference/multimodal-embeddings-api

#include <algorithm>
#include <memory>
#include <utility>

#include "../json_body.h"
#include "content.h"
#include "formats.h"
#include "json.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

struct VoyageRequest {
  EmbedWork work;
  bool base64 = false;
  std::size_t dimensions = 0;
};

VoyageRequest read_request(const Request& given, const Context& context) {
  const nlohmann::json json = parse_json(given.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown(
      {"inputs", "model", "input_type", "truncation", "output_encoding", "output_dimension"});
  require_model(body.optional_string("model").value_or(""), context);
  // The model has one space for queries and documents: each gives the same vector.
  body.choice<int>("input_type", {{"query", 0}, {"document", 0}}, 0);
  VoyageRequest request;
  const nlohmann::json& inputs = body.array("inputs");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const JsonObject input(inputs[i], "inputs[" + std::to_string(i) + "]");
    input.refuse_unknown({"content"});
    request.work.items.push_back(
        read_content(input.at("content"), input.place("content"), context.limits));
  }
  const auto images =
      std::count_if(request.work.items.begin(), request.work.items.end(),
                    [](const WorkItem& item) { return item.item.image || item.image_url; });
  require_items(inputs.size(), static_cast<std::size_t>(images), "inputs", context.limits);
  request.base64 = body.choice<bool>("output_encoding", {{"base64", true}}, false);
  if (const auto size = body.optional_integer("output_dimension", 1, 1 << 20))
    request.dimensions = require_dimensions(*size, context);
  request.work.options.long_text =
      body.optional_boolean("truncation").value_or(true) ? LongText::kTruncate : LongText::kRefuse;
  return request;
}

Response write_answer(const VoyageRequest& request, const Context& context,
                      std::vector<Result<Embedding>> results) {
  throw_first_error(results, "inputs");
  const Usage usage = usage_of(results);
  AnswerJson data = AnswerJson::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::vector<float> vector =
        shorten(std::move(results[i]).value().values, request.dimensions);
    AnswerJson one = {{"object", "embedding"}};
    one["embedding"] = request.base64 ? AnswerJson(base64_floats(vector)) : AnswerJson(vector);
    one["index"] = i;
    data.push_back(std::move(one));
  }
  AnswerJson answer = {{"object", "list"}, {"data", std::move(data)}};
  answer["model"] = context.model_names.front();
  answer["usage"] = {{"text_tokens", usage.tokens},
                     {"image_pixels", usage.pixels},
                     {"total_tokens", usage.tokens}};
  return json_response(answer);
}

Work read(const Request& given, const Context& context) {
  auto request = std::make_shared<VoyageRequest>(read_request(given, context));
  EmbedWork work = std::move(request->work);
  work.write = [request](const Context& at, std::vector<Result<Embedding>> results) {
    return write_answer(*request, at, std::move(results));
  };
  return work;
}

std::string write_error(const Error& error, const Request&) {
  return text_of({{"detail", error.message()}});
}

}  // namespace

std::vector<Route> voyage_routes() {
  return {{"POST", "/v1/multimodalembeddings", "embed", read, write_error}};
}

}  // namespace bifocal::http::wire
