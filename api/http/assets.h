#pragma once

#include <span>
#include <string_view>

namespace bifocal::http {

// A file of api/http/assets/, which are part of the binary (cmake/embed_assets.cmake).
struct Asset {
  std::string_view path;  // that it is served at: "/", "/docs", "/assets/style.css"
  std::string_view content_type;
  std::string_view bytes;
  std::string_view etag;  // quoted
};
std::span<const Asset> all_assets();

}  // namespace bifocal::http
