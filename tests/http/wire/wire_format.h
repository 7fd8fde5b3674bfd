#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bifocal/error.h"
#include "model_free_session.h"
#include "router.h"
#include "search_index.h"
#include "wire/formats.h"

namespace bifocal::http::testing {

// One wire format by itself: what it makes of a request's bytes, and what it writes of results that
// the test makes up. No socket, no model (vectors have 8 numbers), no engine.
class WireFormat {
 public:
  explicit WireFormat(std::vector<Route> routes) { router_.add(std::move(routes)); }

  static Request request(const std::string& path, std::string body = {},
                         const std::string& type = "application/json",
                         const std::string& method = "POST") {
    Target target = parse_target(path);
    Request request;
    request.method = method;
    request.path = std::move(target.path);
    request.query = std::move(target.query);
    request.body = std::move(body);
    request.id = "the-id";
    if (!type.empty()) request.headers.add("Content-Type", type);
    return request;
  }
  static Request request(const std::string& path, const nlohmann::json& body) {
    return request(path, body.dump());
  }
  static Request get(const std::string& path) { return request(path, "", "", "GET"); }

  Work read(Request given) {
    const Router::Match match = router_.find(given.method, given.path);
    if (match.route == nullptr) throw std::runtime_error("no route " + given.path);
    given.path_values = match.values;
    route_ = match.route;
    last_ = std::move(given);
    return route_->read(last_, context());
  }
  template <typename T>
  T read_as(Request given) {
    return std::get<T>(read(std::move(given)));
  }

  // The items that a request is read into.
  std::vector<WorkItem> items(Request given) {
    return std::visit(
        [](auto&& work) -> std::vector<WorkItem> {
          if constexpr (requires { work.items; })
            return std::move(work.items);
          else
            return {};
        },
        read(std::move(given)));
  }

  // The whole response, where the model gave these results.
  template <typename WorkOf, typename T>
  Response write(Request given, std::vector<Result<T>> results) {
    auto work = read_as<WorkOf>(std::move(given));
    EXPECT_EQ(work.items.size(), results.size());
    return work.write(context(), std::move(results));
  }
  template <typename WorkOf, typename T>
  nlohmann::json answer(Request given, std::vector<Result<T>> results) {
    return nlohmann::json::parse(write<WorkOf, T>(std::move(given), std::move(results)).body);
  }
  nlohmann::json embedded(Request given, const std::vector<std::vector<float>>& vectors) {
    std::vector<Result<Embedding>> results;
    for (const auto& vector : vectors) results.emplace_back(embedding(vector));
    return answer<EmbedWork>(std::move(given), std::move(results));
  }
  // Of what asks no model.
  nlohmann::json answer(Request given) {
    Work work = read(std::move(given));
    const auto* slow = std::get_if<SlowWork>(&work);
    return nlohmann::json::parse(slow ? slow->run().body : std::get<Response>(work).body);
  }

  struct Refusal {
    ErrorCode code{};
    nlohmann::json body;  // as the format writes it
    std::string message;
  };
  // Why this is not read, or cannot be answered.
  Refusal refusal(const std::function<void()>& act) {
    try {
      act();
    } catch (const Error& error) {
      return {error.code(), nlohmann::json::parse(route_->write_error(error, last_)),
              error.message()};
    }
    ADD_FAILURE() << "was not refused";
    return {};
  }
  Refusal refusal(Request given) {
    return refusal([&] { read(std::move(given)); });
  }

  static Embedding embedding(std::vector<float> values, std::int64_t tokens = 0,
                             std::int64_t width = 0, std::int64_t height = 0) {
    Embedding embedding;
    embedding.values = std::move(values);
    embedding.provenance.tokens = tokens;
    embedding.provenance.image_width = width;
    embedding.provenance.image_height = height;
    return embedding;
  }

  RequestLimits limits;
  SearchIndex index{{.embedding_size = 8, .capacity = 100}};
  std::optional<std::string> why_not_ready;

 private:
  Context context() { return {session_, limits, index, names_, not_ready_}; }

  Router router_;
  const Route* route_ = nullptr;
  Request last_;
  const engine::Session session_ = fuzz::model_free_session();
  const std::vector<std::string> names_{"tiny", "default"};
  const std::function<std::optional<std::string>()> not_ready_ = [this] { return why_not_ready; };
};

inline std::string bytes_of(const std::optional<std::vector<std::byte>>& image) {
  if (!image) return "(no image)";
  return std::string(reinterpret_cast<const char*>(image->data()), image->size());
}

}  // namespace bifocal::http::testing
