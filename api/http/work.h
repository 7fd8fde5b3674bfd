#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bifocal/error.h"
#include "bifocal/options.h"
#include "bifocal/values.h"
#include "engine/session.h"
#include "message.h"

namespace bifocal::http {

class SearchIndex;

// What a request may hold.
struct RequestLimits {
  std::size_t max_items = 2048;  // of one request
  std::size_t max_images = 256;  // of one request
  std::size_t max_json_depth = 32;
  std::size_t max_image_bytes = 20'000'000;  // encoded
};

// What a wire format may look at while it reads a request and writes the answer. Everything is
// thread-safe and outlives the request.
struct Context {
  const engine::Session& session;  // of the bundle that this request began with
  const RequestLimits& limits;
  SearchIndex& index;
  std::span<const std::string> model_names;  // that a request may name; the first is told
  const std::function<std::optional<std::string>()>& why_not_ready;  // nothing: it is ready
};

// An item as a wire format read it. Where `error` is set it is not served, and fails alone.
struct WorkItem {
  Item item;
  std::optional<std::string> image_url;  // http(s): fetched before the item is served
  std::optional<Error> error;
};

// What a request wants of the model, in no wire format, and how the answer is written in the
// request's own. write() gets one result an item, in order; it runs on a connection thread and may
// throw Error.
template <typename T>
struct ModelWork {
  std::vector<WorkItem> items;
  std::function<Response(const Context&, std::vector<Result<T>>)> write;
};
struct EmbedWork : ModelWork<Embedding> {
  EmbedOptions options;
};
struct ClassifyWork : ModelWork<Classification> {
  ClassifyOptions options;
};
struct MatchWork : ModelWork<Match> {};
struct TokenStatesWork : ModelWork<engine::TokenStates> {
  EmbedOptions options;
};
// What takes long and asks no model, such as loading one: run on threads of its own.
struct SlowWork {
  std::function<Response()> run;
};
// A Response where there is nothing to wait for.
using Work = std::variant<Response, EmbedWork, ClassifyWork, MatchWork, TokenStatesWork, SlowWork>;

// One wire format's way of saying an error. The status is traits(error.code()).http_status.
using WriteError = std::function<std::string(const Error& error, const Request& request)>;

struct Route {
  std::string method;
  std::string pattern;     // "/v2/models/{model}/infer"; a {name} is one segment
  std::string dashboards;  // the method's name in metrics: "embed"
  // Throws Error for what is wrong with the request as a whole. Reads only: no fetch, no wait.
  std::function<Work(const Request&, const Context&)> read;
  WriteError write_error;
  enum class Access {
    kOpen,   // answered without an API key
    kKey,    // needs one, where there are any
    kAdmin,  // needs one with the role "admin"; without keys, a caller on this machine
  };
  Access access = Access::kKey;
};

}  // namespace bifocal::http
