#include "url.h"

#include <boost/url/parse.hpp>
#include <boost/url/src.hpp>  // the library's code: Debian's header-only use of it
#include <boost/url/url.hpp>

#include <algorithm>

#include "bifocal/error.h"
#include "message.h"

namespace bifocal::http {
namespace {

namespace urls = boost::urls;

[[noreturn]] void refuse(const char* why) {
  throw Error(ErrorCode::kInvalidItem, std::string("the image's URL ") + why +
                                           "; give an http or https URL, or the image itself");
}

Url taken_apart(urls::url whole) {
  whole.normalize();  // dot segments, and percent-encodings that mean nothing
  Url url;
  if (whole.scheme_id() != urls::scheme::http && whole.scheme_id() != urls::scheme::https)
    refuse("is not of http or https");
  if (whole.has_userinfo()) refuse("has a user name in it");
  url.secure = whole.scheme_id() == urls::scheme::https;
  url.host = whole.host_address();
  std::transform(url.host.begin(), url.host.end(), url.host.begin(), lower);
  if (url.host.empty() || url.host.size() > 253 ||
      std::any_of(url.host.begin(), url.host.end(), [](char c) { return c <= ' ' || c >= '\x7f'; }))
    refuse("has no host that could be looked up");
  if (whole.has_port() && !whole.port().empty() && whole.port_number() == 0)
    refuse("has no port from 1 to 65535");
  url.port = whole.port_number() != 0 ? whole.port_number() : url.default_port();
  url.target = whole.encoded_target();
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  url.authority = whole.encoded_host_and_port();
  return url;
}

}  // namespace

Url parse_url(std::string_view text) {
  if (text.size() > kLongestUrl) refuse("is longer than 8192 characters");
  const auto parsed = urls::parse_uri(text);
  if (!parsed) refuse("cannot be read");
  return taken_apart(urls::url(*parsed));
}

Url follow(const Url& base, std::string_view location) {
  if (location.size() > kLongestUrl) refuse("leads to one longer than 8192 characters");
  const auto parsed = urls::parse_uri_reference(location);
  if (!parsed) refuse("leads to one that cannot be read");
  const auto from =
      urls::parse_uri((base.secure ? "https://" : "http://") + base.authority + base.target);
  urls::url whole;
  if (!from || !urls::resolve(*from, *parsed, whole)) refuse("leads to one that cannot be read");
  return taken_apart(std::move(whole));
}

}  // namespace bifocal::http
