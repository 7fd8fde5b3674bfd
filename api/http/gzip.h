#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bifocal::http {

// What a body of Content-Encoding gzip (RFC 1952, any number of members) or deflate (RFC 1950)
// expands to. Never holds more than `max_bytes` of it. Throws Error: kTooLarge past that,
// kInvalidArgument where it is cut short, damaged, or followed by something else.
std::string gunzip(std::string_view body, std::size_t max_bytes);

}  // namespace bifocal::http
