#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string_view>

namespace bifocal::http::openapi {

using Json = nlohmann::ordered_json;

Json reference(std::string_view schema);  // {"$ref": "#/components/schemas/..."}
Json timing_headers();
// Every body that is read or written, by name (JSON Schema 2020-12).
Json schemas(std::size_t max_items);

}  // namespace bifocal::http::openapi
