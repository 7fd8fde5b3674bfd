#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bifocal::http {

// An absolute http(s) URL (RFC 3986), as far as fetching needs it.
struct Url {
  bool secure = false;  // https
  std::string host;     // a name, or an address without its brackets; in lower case
  std::uint16_t port = 0;
  std::string target;     // path and query: "/a.jpg?size=2"
  std::string authority;  // for the Host field

  std::uint16_t default_port() const noexcept { return secure ? 443 : 80; }
};

inline constexpr std::size_t kLongestUrl = 8192;

// Throws Error(kInvalidItem) for anything that is not an http or https URL, for one with a user
// name, and for one longer than kLongestUrl.
Url parse_url(std::string_view text);
// A redirect's Location as seen from `base`. Throws as parse_url() does.
Url follow(const Url& base, std::string_view location);

}  // namespace bifocal::http
