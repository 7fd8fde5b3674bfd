#include "system_routes.h"

#include <string>
#include <utility>

#include "assets.h"
#include "openapi.h"
#include "service.h"
#include "wire/json.h"
#include "wire/reading.h"

namespace bifocal::http {
namespace {

using wire::json_response;

Response readiness(Service& service) {
  const auto why = service.why_not_ready();
  if (!why) return json_response({{"ready", true}});
  return json_response({{"ready", false}, {"reason", *why}},
                       traits(ErrorCode::kUnavailable).http_status);
}

Response health(Service& service) {
  const auto why = service.why_not_ready();
  const engine::EngineLoad load = service.host().engine().load();
  const ModelInfo& model = service.host().served()->session->info();
  return json_response({{"status", why ? "unavailable" : "ok"},
                        {"reason", why ? wire::AnswerJson(*why) : wire::AnswerJson()},
                        {"model", model.name},
                        {"pending_items", load.items},
                        {"estimated_wait_ms", load.wait.count()},
                        {"index_size", service.host().served()->index->size()}},
                       why ? traits(ErrorCode::kUnavailable).http_status : 200);
}

Response metrics(Service& service) {
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = service.metrics().text({service.host().engine().load(), service.bodies().held(),
                                          service.log().lost(), !service.why_not_ready()});
  return response;
}

// What a page of ours may do: everything from here, nothing from elsewhere.
Response asset(const Asset& asset, const Request& request) {
  Response response;
  response.content_type = std::string(asset.content_type);
  response.headers.add("ETag", std::string(asset.etag));
  response.headers.add("Cache-Control", "no-cache");
  response.headers.add("X-Content-Type-Options", "nosniff");
  response.headers.add("Content-Security-Policy",
                       "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; "
                       "base-uri 'none'; form-action 'self'");
  if (request.headers.get("if-none-match") == asset.etag)
    response.status = 304;
  else
    response.body = std::string(asset.bytes);
  return response;
}

Route get(std::string pattern, std::string name, std::function<Response(const Request&)> answer) {
  return {"GET",
          std::move(pattern),
          std::move(name),
          [answer = std::move(answer)](const Request& request, const Context&) -> Work {
            return answer(request);
          },
          wire::write_openai_error,
          Route::Access::kOpen};
}

Route reload_route(Service& service) {
  Route route;
  route.method = "POST";
  route.pattern = "/v1/admin/reload";
  route.dashboards = "reload";
  route.access = Route::Access::kAdmin;
  route.write_error = wire::write_openai_error;
  route.read = [&service](const Request&, const Context&) -> Work {
    return SlowWork{[&service] {
      service.reload();
      return json_response(
          {{"reloaded", true}, {"model", service.host().served()->session->info().name}});
    }};
  };
  return route;
}

}  // namespace

std::vector<Route> system_routes(Service& service) {
  std::vector<Route> routes;
  const auto live = [](const Request&) { return json_response({{"live", true}}); };
  const auto ready = [&service](const Request&) { return readiness(service); };
  for (const char* path : {"/live", "/v2/health/live"}) routes.push_back(get(path, "live", live));
  for (const char* path : {"/ready", "/v2/health/ready"})
    routes.push_back(get(path, "ready", ready));
  routes.push_back(
      get("/health", "health", [&service](const Request&) { return health(service); }));
  routes.push_back(
      get("/metrics", "metrics", [&service](const Request&) { return metrics(service); }));
  routes.push_back(get("/openapi.json", "openapi", [&service](const Request&) {
    Response response;
    response.body = openapi_document(service.settings());
    return response;
  }));
  for (const Asset& one : all_assets())
    routes.push_back(get(std::string(one.path), "page",
                         [&one](const Request& request) { return asset(one, request); }));
  routes.push_back(reload_route(service));
  return routes;
}

}  // namespace bifocal::http
