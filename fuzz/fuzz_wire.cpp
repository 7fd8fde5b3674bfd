// Every wire format on any body: the first byte chooses the route, the second the content type.
// What is read is answered with a vector an item, and every answer and error must be whole JSON in
// UTF-8.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "model_free_session.h"
#include "search_index.h"
#include "wire/formats.h"

namespace {

using namespace bifocal;
using namespace bifocal::http;

constexpr std::array kTypes{"application/json",
                            "multipart/form-data; boundary=b",
                            "image/png",
                            "application/json; charset=utf-8",
                            "",
                            "application/octet-stream"};

std::vector<Route> all_routes() {
  std::vector<Route> all;
  for (auto routes :
       {wire::bifocal_routes(), wire::search_routes(), wire::openai_routes(), wire::cohere_routes(),
        wire::voyage_routes(), wire::tei_routes(), wire::open_inference_routes()})
    for (Route& route : routes) all.push_back(route);
  return all;
}

const std::vector<Route>& routes() {
  static const auto all = all_routes();
  return all;
}

void must_be_json(const std::string& text) {
  if (!nlohmann::json::accept(text)) std::abort();
}

template <typename T>
Response answered(const ModelWork<T>& work, const Context& context, const T& value) {
  std::vector<Result<T>> results;
  for (const WorkItem& item : work.items)
    item.error ? results.emplace_back(*item.error) : results.emplace_back(value);
  return work.write(context, std::move(results));
}

Response answer(Work work, const Context& context) {
  if (auto* response = std::get_if<Response>(&work)) return *response;
  if (auto* slow = std::get_if<SlowWork>(&work)) return slow->run();
  if (auto* embed = std::get_if<EmbedWork>(&work)) {
    Embedding embedding;
    embedding.values.assign(8, 0.125F);
    return answered(*embed, context, embedding);
  }
  if (auto* classify = std::get_if<ClassifyWork>(&work)) {
    Classification classification;
    classification.scores = {{"red", 0.5F}, {"green", 0.5F}};
    return answered(*classify, context, classification);
  }
  if (auto* match = std::get_if<MatchWork>(&work)) return answered(*match, context, Match{});
  engine::TokenStates states;
  states.hidden_size = 4;
  states.values.assign(8, 0.5F);
  return answered(std::get<TokenStatesWork>(work), context, states);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const engine::Session session = fuzz::model_free_session();
  static SearchIndex index({.embedding_size = 8, .capacity = 100});
  static const std::vector<std::string> names{"none", "default"};
  static const std::function<std::optional<std::string>()> ready = [] { return std::nullopt; };
  RequestLimits limits;
  limits.max_items = 64;
  const Context context{session, limits, index, names, ready};
  const Route& route = routes()[data[0] % routes().size()];
  Request request;
  request.method = route.method;
  request.path = route.pattern;
  request.id = "fuzz";
  request.path_values = {{"model", "default"}, {"version", "1"}};
  request.headers.add("Content-Type", kTypes[data[1] % kTypes.size()]);
  request.body.assign(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (kTypes[data[1] % kTypes.size()] == std::string_view("application/octet-stream")) {
    const std::size_t end = request.body.rfind('}');
    request.headers.add("Inference-Header-Content-Length",
                        std::to_string(end == std::string::npos ? 0 : end + 1));
  }
  try {
    const Response response = answer(route.read(request, context), context);
    if (response.content_type == "application/json") must_be_json(response.body);
  } catch (const Error& error) {
    must_be_json(route.write_error(error, request));
  }
  return 0;
}
