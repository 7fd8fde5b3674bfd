#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::http {

struct Part {
  std::string name;
  std::string file_name;          // empty where there is none
  std::string_view content_type;  // as sent, empty where there is none
  std::string_view data;
};

struct MultipartLimits {
  std::size_t max_parts = 1024;
  std::size_t max_header_bytes = 4096;  // of one part
};

// The parts of a multipart/form-data body (RFC 7578; the framing of RFC 2046, section 5.1). They
// point into `body`. Throws Error(kInvalidArgument) saying what is missing or wrong, kTooLarge for
// too many parts.
std::vector<Part> parse_multipart(std::string_view content_type, std::string_view body,
                                  const MultipartLimits& limits = {});

}  // namespace bifocal::http
