// POST /v1/embeddings as OpenAI's API has it, with the elements of Jina's ({"text"} or {"image"},
// a vector each) and the messages of vLLM's (one vector).
// https://platform.openai.com/docs/api-reference/embeddings

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

enum class Encoding { kFloat, kBase64, kBinary };

struct OpenAiRequest {
  EmbedWork work;
  Encoding encoding = Encoding::kFloat;
  std::size_t dimensions = 0;
};

WorkItem read_element(const nlohmann::json& value, const std::string& where,
                      const RequestLimits& limits) {
  if (!value.is_object()) return read_text(value, where, " nor {\"text\"} or {\"image\"}");
  WorkItem item;
  const JsonObject element(value, where);
  element.refuse_unknown({"text", "image"});
  if (element.has("text") && element.has("image"))
    throw Error(ErrorCode::kInvalidArgument,
                where +
                    " has both text and image, where a vector is made of one; "
                    "/v1/fused/embeddings makes one of both");
  if (element.has("image"))
    read_image(element.string("image"), element.place("image"), limits, item);
  else
    item.item.text = element.string("text");
  return item;
}

void read_input(const JsonObject& body, const RequestLimits& limits, OpenAiRequest& request) {
  const nlohmann::json& input = body.at("input");
  if (!input.is_array() || is_token_ids(input)) {
    request.work.items.push_back(read_element(input, "input", limits));
    return;
  }
  for (std::size_t i = 0; i < input.size(); ++i)
    request.work.items.push_back(
        read_element(input[i], "input[" + std::to_string(i) + "]", limits));
}

// A conversation is one item: the parts of all its messages together.
void read_messages(const JsonObject& body, const RequestLimits& limits, OpenAiRequest& request) {
  nlohmann::json parts = nlohmann::json::array();
  const nlohmann::json& messages = body.array("messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const JsonObject message(messages[i], "messages[" + std::to_string(i) + "]");
    message.refuse_unknown({"role", "content"});
    message.string("role");
    const nlohmann::json& content = message.at("content");
    if (content.is_string())
      parts.push_back({{"type", "text"}, {"text", content}});
    else
      for (const nlohmann::json& part : message.array("content")) parts.push_back(part);
  }
  request.work.items.push_back(read_content(parts, "messages", limits));
}

OpenAiRequest read_request(const Request& given, const Context& context) {
  const nlohmann::json json = parse_json(given.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"input", "messages", "model", "encoding_format", "dimensions", "user",
                       "normalized", "embedding_type", "task", "truncate"});
  require_model(body.optional_string("model").value_or(""), context);
  OpenAiRequest request;
  if (body.has("input") == body.has("messages"))
    throw Error(ErrorCode::kInvalidArgument, "the body needs one of input and messages");
  if (body.has("input"))
    read_input(body, context.limits, request);
  else
    read_messages(body, context.limits, request);
  const auto images = std::count_if(
      request.work.items.begin(), request.work.items.end(),
      [](const WorkItem& item) { return item.item.image || item.image_url || item.error; });
  require_items(request.work.items.size(), static_cast<std::size_t>(images), "input",
                context.limits);
  body.optional_string("user");  // whose end user: nothing here depends on it
  request.encoding = body.choice<Encoding>(
      "encoding_format", {{"float", Encoding::kFloat}, {"base64", Encoding::kBase64}},
      Encoding::kFloat);
  request.encoding = body.choice<Encoding>(
      "embedding_type",
      {{"float", Encoding::kFloat}, {"base64", Encoding::kBase64}, {"binary", Encoding::kBinary}},
      request.encoding);
  if (const auto size = body.optional_integer("dimensions", 1, 1 << 20))
    request.dimensions = require_dimensions(*size, context);
  if (!body.optional_boolean("normalized").value_or(true))
    body.fail("normalized", "is false; this model's vectors have length 1 and no other form");
  if (body.has("task")) body.fail("task", "is not known here; this model has one kind of vector");
  request.work.options.long_text =
      body.optional_boolean("truncate").value_or(true) ? LongText::kTruncate : LongText::kRefuse;
  return request;
}

AnswerJson encoded(Encoding encoding, const std::vector<float>& vector) {
  if (encoding == Encoding::kBase64) return base64_floats(vector);
  if (encoding == Encoding::kBinary) return to_binary(vector);
  return vector;
}

Response write_answer(const OpenAiRequest& request, const Context& context,
                      std::vector<Result<Embedding>> results) {
  throw_first_error(results, "input");
  const Usage usage = usage_of(results);
  AnswerJson data = AnswerJson::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    AnswerJson one = {{"object", "embedding"}, {"index", i}};
    one["embedding"] = encoded(request.encoding,
                               shorten(std::move(results[i]).value().values, request.dimensions));
    data.push_back(std::move(one));
  }
  AnswerJson answer = {{"object", "list"}, {"data", std::move(data)}};
  answer["model"] = context.model_names.front();
  answer["usage"] = {{"prompt_tokens", usage.tokens}, {"total_tokens", usage.tokens}};
  return json_response(answer);
}

Work read(const Request& given, const Context& context) {
  auto request = std::make_shared<OpenAiRequest>(read_request(given, context));
  EmbedWork work = std::move(request->work);
  work.write = [request](const Context& at, std::vector<Result<Embedding>> results) {
    return write_answer(*request, at, std::move(results));
  };
  return work;
}

}  // namespace

std::vector<Route> openai_routes() {
  return {{"POST", "/v1/embeddings", "embed", read, write_openai_error}};
}

}  // namespace bifocal::http::wire
