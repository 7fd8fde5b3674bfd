#include "url.h"

#include <boost/url/parse.hpp>
#include <boost/url/src.hpp>  // the library's code: Debian's header-only use of it
#include <boost/url/url.hpp>

#include <algorithm>
#include <charconv>

#include "bifocal/error.h"
#include "message.h"

namespace bifocal::http {
namespace {

namespace urls = boost::urls;

[[noreturn]] void refuse(const char* why) {
  throw Error(ErrorCode::kInvalidItem, std::string("the image's URL ") + why +
                                           "; give an http or https URL, or the image itself");
}

// Before Boost's parser sees it: of what is no URL of ours, it takes some apart wrongly (1.81).
// A reference without a scheme is one relative to a page; parse_url() refuses it later.
void require_plausible(std::string_view text) {
  if (text.size() > kLongestUrl) refuse("is longer than 8192 characters");
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c >= '\x7f'; }))
    refuse("has a character that must be percent-encoded");
  const std::size_t colon = text.find_first_of(":/?#");
  if (colon == std::string_view::npos || text[colon] != ':') return;
  const std::string_view scheme = text.substr(0, colon);
  if (!equal_ignoring_case(scheme, "http") && !equal_ignoring_case(scheme, "https"))
    refuse("is not of http or https");
  if (!text.substr(colon + 1).starts_with("//")) refuse("has no host that could be looked up");
}

Url taken_apart(urls::url given) {
  given.normalize();  // dot segments, and percent-encodings that mean nothing
  // Boost 1.81 loses count of what it has normalised (its own assertions say so), so it reads
  // again.
  const std::string normal(given.buffer().data(), given.buffer().size());
  const auto again = urls::parse_uri(normal);
  if (!again) refuse("cannot be read");
  const urls::url_view& whole = *again;
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
  url.port = url.default_port();
  if (const std::string port = whole.port(); !port.empty()) {  // port_number() of 99999 is 34463
    const auto end = port.data() + port.size();
    if (std::from_chars(port.data(), end, url.port).ec != std::errc() || url.port == 0)
      refuse("has no port from 1 to 65535");
  }
  url.target = whole.encoded_target();
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  url.authority = whole.encoded_host_and_port();
  return url;
}

}  // namespace

Url parse_url(std::string_view text) {
  require_plausible(text);
  const auto parsed = urls::parse_uri(text);
  if (!parsed) refuse("cannot be read");
  return taken_apart(urls::url(*parsed));
}

Url follow(const Url& base, std::string_view location) {
  require_plausible(location);
  const auto parsed = urls::parse_uri_reference(location);
  if (!parsed) refuse("leads to one that cannot be read");
  // What is parsed is a view of this.
  const std::string here = (base.secure ? "https://" : "http://") + base.authority + base.target;
  const auto from = urls::parse_uri(here);
  urls::url whole;
  if (!from || !urls::resolve(*from, *parsed, whole)) refuse("leads to one that cannot be read");
  return taken_apart(std::move(whole));
}

}  // namespace bifocal::http
