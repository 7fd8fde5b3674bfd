// /v1/search, over the index that the server was given and what was added to it since.

#include <memory>
#include <utility>

#include "../search_index.h"
#include "formats.h"
#include "items.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

AnswerJson describe(const SearchIndex& index) {
  return {{"size", index.size()}, {"approximate", index.approximate()}};
}

Work read_search(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"query", "k", "model"});
  require_model(body.optional_string("model").value_or(""), context);
  const auto k = static_cast<std::size_t>(body.optional_integer("k", 1, 1000).value_or(10));
  EmbedWork work;
  work.items.push_back(read_item(body.at("query"), "query", context.limits));
  work.write = [k](const Context& at, std::vector<Result<Embedding>> results) {
    if (!results.front().ok()) throw results.front().error().within("query");
    AnswerJson answer = {{"object", "list"}, {"model", at.model_names.front()}};
    answer["data"] = AnswerJson::array();
    for (const Neighbour& neighbour : at.index.search(results.front().value().values, k))
      answer["data"].push_back({{"id", neighbour.id}, {"score", neighbour.score}});
    answer["index"] = describe(at.index);
    return json_response(answer);
  };
  return work;
}

Work read_add(const Request& request, const Context& context) {
  const nlohmann::json json = parse_json(request.body, context.limits.max_json_depth);
  const JsonObject body(json);
  body.refuse_unknown({"items", "model"});
  require_model(body.optional_string("model").value_or(""), context);
  EmbedWork work;
  work.items = read_items(body, context.limits);
  for (std::size_t i = 0; i < work.items.size(); ++i)
    if (work.items[i].item.id.empty())
      throw Error(ErrorCode::kInvalidArgument,
                  "items[" + std::to_string(i) + "] has no id to be found by");
  work.write = [ids = ids_of(work.items)](const Context& at,
                                          std::vector<Result<Embedding>> results) {
    AnswerJson errors = AnswerJson::array();
    std::size_t added = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
      try {
        at.index.add(ids[i], results[i].value().values);
        ++added;
      } catch (const Error& error) {
        errors.push_back(item_error(i, ids[i], error));
      }
    }
    AnswerJson answer = {{"added", added}, {"errors", std::move(errors)}};
    answer["index"] = describe(at.index);
    return json_response(answer);
  };
  return work;
}

Work remove(const Request& request, const Context& context) {
  const auto id = request.query_value("id");
  if (!id || id->empty())
    throw Error(ErrorCode::kInvalidArgument, "the query has no id; write ?id=...");
  if (!context.index.remove(*id))
    throw Error(ErrorCode::kNotFound, "the index in memory has no item of this id");
  AnswerJson answer = {{"removed", 1}};
  answer["index"] = describe(context.index);
  return json_response(answer);
}

}  // namespace

std::vector<Route> search_routes() {
  return {{"POST", "/v1/search", "search", read_search, write_openai_error},
          {"POST", "/v1/search/items", "search", read_add, write_openai_error},
          {"DELETE", "/v1/search/items", "search", remove, write_openai_error}};
}

}  // namespace bifocal::http::wire
