#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "work.h"

namespace bifocal::http {

// Which route answers a path. Immutable after building; thread-safe.
class Router {
 public:
  void add(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;  // null where the path or the method has none
    std::vector<std::pair<std::string, std::string>> values;  // of the pattern's {names}
    std::vector<std::string> allowed;  // methods, where the path is known and the method is not
  };
  Match find(std::string_view method, std::string_view path) const;

  const std::vector<Route>& routes() const noexcept { return routes_; }

 private:
  std::vector<Route> routes_;
};

// A request's target, split and percent-decoded (RFC 3986). Throws Error(kInvalidArgument).
struct Target {
  std::string path;
  std::vector<std::pair<std::string, std::string>> query;
};
Target parse_target(std::string_view target);

}  // namespace bifocal::http
