#pragma once

#include <vector>

#include "work.h"

namespace bifocal::http {

class Service;

// What a server tells of itself: /live, /ready, /health, /v2/health/*, /metrics, /openapi.json,
// the pages, and /v1/admin/reload. `service` outlives the routes.
std::vector<Route> system_routes(Service& service);

}  // namespace bifocal::http
