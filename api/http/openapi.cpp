#include "openapi.h"

#include <initializer_list>
#include <string_view>
#include <utility>

#include "bifocal/version.h"
#include "openapi_schemas.h"
#include "settings.h"

namespace bifocal::http {
namespace {

using openapi::Json;
using openapi::reference;

Json json_content(const Json& schema, const Json& example = nullptr) {
  Json media = {{"schema", schema}};
  if (!example.is_null()) media["example"] = example;
  return {{"application/json", media}};
}

struct Operation {
  std::string_view method, path, id, tag, summary, description;
  Json request;   // its content by media type; null: no body
  Json response;  // schema of status 200
  std::string_view error = "Error";
  Json parameters = Json::array();
  bool model = true;  // asks the model: it may be refused for load, and takes a deadline
  bool open = false;  // needs no key
  Json response_content = nullptr;  // where it is not JSON
};

Json query(std::string_view name, std::string_view description, const Json& schema) {
  return {{"name", name}, {"in", "query"}, {"description", description}, {"schema", schema}};
}
Json path_parameter(std::string_view name, std::string_view description) {
  return {{"name", name},
          {"in", "path"},
          {"required", true},
          {"description", description},
          {"schema", {{"type", "string"}, {"minLength", 1}}}};
}

// Which failures an operation may answer with; what each means is said once.
Json responses_of(const Operation& operation, bool with_keys) {
  const Json error = json_content(reference(operation.error));
  const auto failure = [&](const char* description) {
    return Json{{"description", description}, {"content", error}};
  };
  Json responses;
  responses["200"] = {
      {"description", "Done"},
      {"content", operation.response_content.is_null() ? json_content(operation.response)
                                                       : operation.response_content}};
  if (operation.model) responses["200"]["headers"] = openapi::timing_headers();
  responses["400"] =
      failure("The request cannot be served, whatever the load; the message says why");
  if (with_keys && !operation.open)
    responses["401"] = failure("No API key, or one that is not known");
  if (!operation.open) responses["403"] = failure("Understood, and refused by a setting");
  responses["404"] = failure("A path, a model or an entry that is not there");
  if (operation.method == "post") {
    responses["413"] = failure("The request, or a part of it, is beyond a limit");
    responses["415"] = failure("A content type or encoding that is not read");
    responses["422"] = failure("An item that cannot be served: not an image, not UTF-8, empty");
    responses["424"] = failure("An image could not be fetched from its URL");
    responses["429"] = failure("Too many requests of this key, or the wait would be too long");
    responses["429"]["headers"]["Retry-After"] = {
        {"description", "Seconds after which the same request is likely to succeed"},
        {"schema", {{"type", "integer"}, {"minimum", 1}}}};
    responses["504"] = failure("The deadline passed before the work was done");
  }
  responses["500"] = failure("A bug of the server; please report it");
  responses["503"] = failure("Starting up or shutting down");
  return responses;
}

Json described(const Operation& operation, bool with_keys) {
  Json json = {{"operationId", operation.id},
               {"tags", {operation.tag}},
               {"summary", operation.summary},
               {"responses", responses_of(operation, with_keys)}};
  if (!operation.description.empty()) json["description"] = operation.description;
  json["parameters"] = operation.parameters;
  if (operation.model)
    json["parameters"].push_back(
        {{"name", "x-request-timeout-ms"},
         {"in", "header"},
         {"description", "The request's own deadline in milliseconds; the server's where absent"},
         {"schema", {{"type", "number"}, {"exclusiveMinimum", 0}}}});
  if (!operation.request.is_null())
    json["requestBody"] = {{"required", true}, {"content", operation.request}};
  if (with_keys && !operation.open) json["security"] = {{{"key", Json::array()}}};
  return json;
}

Json picture_body(const Json& object) {
  Json content = json_content(object);
  content["multipart/form-data"] = {
      {"schema",
       {{"type", "object"},
        {"description", "One item: a picture as a file, a text, or both"},
        {"properties",
         {{"image", {{"type", "string"}, {"contentMediaType", "application/octet-stream"}}},
          {"text", {{"type", "string"}}}}}}}};
  for (const char* type : {"image/jpeg", "image/png", "image/webp"})
    content[type] = {{"schema", Json::object()}};
  return content;
}

std::vector<Operation> own_operations() {
  const Json text =
      query("text", "With a raw image body: the text that belongs to it", {{"type", "string"}});
  return {
      {"post",
       "/v1/fused/embeddings",
       "embedFused",
       "Bifocal",
       "One vector for each item",
       "An item is an image, a text, or both, fused into one vector of length 1. Each item that "
       "fails has its own error in its place.",
       picture_body(reference("EmbedRequest")),
       reference("EmbedAnswer"),
       "Error",
       {text}},
      {"post",
       "/v1/match",
       "match",
       "Bifocal",
       "Does the text belong to the image?",
       "Each item needs both sides.",
       picture_body(reference("MatchRequest")),
       reference("MatchAnswer"),
       "Error",
       {text}},
      {"post",
       "/v1/classify",
       "classify",
       "Bifocal",
       "Scores of one of the bundle's label sets",
       "",
       picture_body(reference("ClassifyRequest")),
       reference("ClassifyAnswer"),
       "Error",
       {text}},
      {"post", "/v1/search", "search", "Bifocal", "The nearest entries of the index",
       "Exact up to a size, then approximate (HNSW) and scored exactly; the answer says which.",
       json_content(reference("SearchRequest")), reference("SearchAnswer")},
      {"post", "/v1/search/items", "addToIndex", "Bifocal", "Add items to the index in memory",
       "An item whose id is there is replaced.", json_content(reference("AddRequest")),
       reference("AddAnswer")},
      {"delete",
       "/v1/search/items",
       "removeFromIndex",
       "Bifocal",
       "Remove an item from the index",
       "",
       nullptr,
       reference("RemoveAnswer"),
       "Error",
       {[] {
         Json id = query("id", "The item's id", {{"type", "string"}, {"minLength", 1}});
         id["required"] = true;
         return id;
       }()},
       false},
      {"post", "/v1/tokenize", "tokenize", "Bifocal", "The pieces that the encoder reads", "",
       json_content(reference("TokenizeRequest")), reference("TokenizeAnswer"), "Error",
       Json::array(), false},
      {"get", "/v1/models", "listModels", "Bifocal", "The model that is served", "", nullptr,
       reference("ModelList"), "Error", Json::array(), false},
      {"get",
       "/v1/models/{model}",
       "getModel",
       "Bifocal",
       "One model",
       "",
       nullptr,
       reference("Model"),
       "Error",
       {path_parameter("model", "A served name")},
       false},
      {"post",
       "/v1/admin/reload",
       "reload",
       "Bifocal",
       "Load the bundle again",
       "Needs a key with the role admin, or, without keys, a caller on this machine. A bundle that "
       "does not load or fails its check leaves the old one serving.",
       nullptr,
       {{"type", "object"}},
       "Error",
       Json::array(),
       false},
  };
}

std::vector<Operation> compatible_operations() {
  const Json model = path_parameter("model", "A served name");
  const Json version = path_parameter("version", "1");
  const auto infer = json_content(reference("InferRequest"));
  std::vector<Operation> operations{
      {"post", "/v1/embeddings", "openaiEmbeddings", "OpenAI",
       "Embeddings as OpenAI's clients ask for them",
       "Also Jina's elements ({text} or {image}; a vector each) and vLLM's messages (one vector).",
       json_content(reference("OpenAIRequest")), reference("OpenAIAnswer")},
      {"post", "/v2/embed", "cohereEmbed", "Cohere", "Embeddings as Cohere's clients ask for them",
       "The outer list is the batch, the inner one is fused.",
       json_content(reference("CohereRequest")), reference("CohereAnswer"), "CohereError"},
      {"post", "/v1/multimodalembeddings", "voyageEmbeddings", "Voyage",
       "Embeddings as Voyage's clients ask for them", "Each input's content is fused.",
       json_content(reference("VoyageRequest")), reference("VoyageAnswer"), "VoyageError"},
      {"post", "/embed", "teiEmbed", "Text Embeddings Inference", "Vectors of texts", "",
       json_content(reference("TeiEmbedRequest")), reference("Vectors"), "TeiError"},
      {"post",
       "/embed_all",
       "teiEmbedAll",
       "Text Embeddings Inference",
       "A vector for each token",
       "",
       json_content(reference("TeiInputs")),
       {{"type", "array"}, {"items", reference("Vectors")}},
       "TeiError"},
      {"post", "/similarity", "teiSimilarity", "Text Embeddings Inference",
       "Cosines of one sentence with others", "", json_content(reference("TeiSimilarityRequest")),
       reference("Vector"), "TeiError"},
      {"post", "/rerank", "teiRerank", "Text Embeddings Inference", "Texts by nearness to a query",
       "", json_content(reference("TeiRerankRequest")), reference("TeiRanks"), "TeiError"},
      {"post",
       "/predict",
       "teiPredict",
       "Text Embeddings Inference",
       "Class scores of texts",
       "",
       json_content(reference("TeiPredictRequest")),
       {{"type", "array"}},
       "TeiError"},
      {"post",
       "/tokenize",
       "teiTokenize",
       "Text Embeddings Inference",
       "The pieces of texts",
       "",
       json_content(reference("TeiTokenizeRequest")),
       {{"type", "array"}},
       "TeiError",
       Json::array(),
       false},
      {"post",
       "/decode",
       "teiDecode",
       "Text Embeddings Inference",
       "Texts of token ids",
       "",
       json_content(reference("TeiDecodeRequest")),
       {{"type", "array"}, {"items", {{"type", "string"}}}},
       "TeiError",
       Json::array(),
       false},
      {"get",
       "/info",
       "teiInfo",
       "Text Embeddings Inference",
       "The model and its limits",
       "",
       nullptr,
       {{"type", "object"}},
       "TeiError",
       Json::array(),
       false},
      {"get",
       "/v2",
       "serverMetadata",
       "Open Inference Protocol",
       "The server",
       "",
       nullptr,
       {{"type", "object"}},
       "InferError",
       Json::array(),
       false},
      {"post",
       "/v2/models/{model}/infer",
       "infer",
       "Open Inference Protocol",
       "Inference",
       "",
       infer,
       reference("InferAnswer"),
       "InferError",
       {model}},
      {"post",
       "/v2/models/{model}/versions/{version}/infer",
       "inferVersion",
       "Open Inference Protocol",
       "Inference of a version",
       "",
       infer,
       reference("InferAnswer"),
       "InferError",
       {model, version}},
  };
  for (const bool versioned : {false, true}) {
    const Json parameters = versioned ? Json{model, version} : Json{model};
    operations.push_back(
        {"get",
         versioned ? "/v2/models/{model}/versions/{version}" : "/v2/models/{model}",
         versioned ? "modelVersionMetadata" : "modelMetadata",
         "Open Inference Protocol",
         "The model's tensors",
         "",
         nullptr,
         {{"type", "object"}},
         "InferError",
         parameters,
         false});
    operations.push_back(
        {"get",
         versioned ? "/v2/models/{model}/versions/{version}/ready" : "/v2/models/{model}/ready",
         versioned ? "modelVersionReady" : "modelReady",
         "Open Inference Protocol",
         "Is the model ready?",
         "",
         nullptr,
         {{"type", "object"}},
         "InferError",
         parameters,
         false});
  }
  return operations;
}

std::vector<Operation> health_operations() {
  std::vector<Operation> operations;
  const std::pair<const char*, const char*> paths[] = {
      {"/live", "The process answers"},
      {"/ready", "A forward pass came back within the last seconds"},
      {"/health", "Readiness, load and index in one"},
      {"/v2/health/live", "As /live"},
      {"/v2/health/ready", "As /ready"}};
  for (const auto& [path, summary] : paths) {
    Operation operation{"get", path, {}, "Health", summary, "", nullptr, {{"type", "object"}}};
    operation.id = std::string_view(path).substr(1);
    operation.model = false;
    operation.open = true;
    operations.push_back(operation);
  }
  Operation metrics{"get", "/metrics", "metrics", "Health", "Prometheus metrics", "", nullptr, {}};
  metrics.response_content = {{"text/plain", {{"schema", {{"type", "string"}}}}}};
  metrics.model = false;
  metrics.open = true;
  operations.push_back(metrics);
  return operations;
}

}  // namespace

std::string openapi_document(const Settings& settings) {
  const bool with_keys = !settings.api_keys.empty();
  Json paths = Json::object();
  for (const auto& family : {own_operations(), compatible_operations(), health_operations()})
    for (const Operation& operation : family)
      paths[std::string(operation.path)][std::string(operation.method)] =
          described(operation, with_keys);
  Json components = {{"schemas", openapi::schemas(settings.max_items)}};
  if (with_keys)
    components["securitySchemes"] = {{"key", {{"type", "http"}, {"scheme", "bearer"}}}};
  const Json document = {{"openapi", "3.1.0"},
                         {"info",
                          {{"title", "Bifocal"},
                           {"version", BIFOCAL_VERSION},
                           {"summary", "One vector for a picture, a text, or both together"},
                           {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
                         {"servers", {{{"url", "/"}}}},
                         {"paths", std::move(paths)},
                         {"components", std::move(components)}};
  return document.dump();
}

}  // namespace bifocal::http
