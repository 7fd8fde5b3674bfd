#pragma once

#include <string>

namespace bifocal::http {

struct Settings;

// The whole API as an OpenAPI 3.1 document, with the limits that are set.
std::string openapi_document(const Settings& settings);

}  // namespace bifocal::http
