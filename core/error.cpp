#include "bifocal/error.h"

#include <array>
#include <utility>

namespace bifocal {
namespace {

// Exit codes follow sysexits.h where it has a fitting one, so that scripts can tell bad data (65)
// from a missing file (66) and from a refused write (74).
constexpr std::array<ErrorTraits, 25> kTraits{{
    {ErrorCode::kInvalidArgument, "invalid_argument", 400, 64, false},
    {ErrorCode::kInvalidItem, "invalid_item", 422, 65, false},
    {ErrorCode::kInvalidImage, "invalid_image", 422, 65, false},
    {ErrorCode::kUnsupportedImage, "unsupported_image", 415, 65, false},
    {ErrorCode::kImageTooLarge, "image_too_large", 413, 65, false},
    {ErrorCode::kInvalidText, "invalid_text", 422, 65, false},
    {ErrorCode::kNotFound, "not_found", 404, 66, false},
    {ErrorCode::kInvalidBundle, "invalid_bundle", 500, 78, false},
    {ErrorCode::kUnsupported, "unsupported", 501, 69, false},
    {ErrorCode::kIo, "io_error", 500, 74, true},
    {ErrorCode::kNumerical, "numerical_error", 500, 70, false},
    {ErrorCode::kUnauthenticated, "unauthenticated", 401, 77, false},
    {ErrorCode::kForbidden, "forbidden", 403, 77, false},
    {ErrorCode::kMethodNotAllowed, "method_not_allowed", 405, 64, false},
    {ErrorCode::kUnsupportedMedia, "unsupported_media_type", 415, 65, false},
    {ErrorCode::kTooLarge, "too_large", 413, 65, false},
    {ErrorCode::kHeadersTooLarge, "headers_too_large", 431, 65, false},
    {ErrorCode::kRequestTimeout, "request_timeout", 408, 75, true},
    {ErrorCode::kRateLimited, "rate_limited", 429, 75, true},
    {ErrorCode::kOverloaded, "overloaded", 429, 75, true},
    {ErrorCode::kDeadlineExceeded, "deadline_exceeded", 504, 75, true},
    {ErrorCode::kCancelled, "cancelled", 499, 75, true},
    {ErrorCode::kUnavailable, "unavailable", 503, 75, true},
    {ErrorCode::kFetchFailed, "fetch_failed", 424, 75, true},
    {ErrorCode::kInternal, "internal_error", 500, 70, false},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTraits.size(); ++i)
    if (static_cast<std::size_t>(kTraits[i].code) != i) return false;
  return true;
}
static_assert(in_order(), "kTraits is indexed by ErrorCode");

}  // namespace

const ErrorTraits& traits(ErrorCode code) noexcept {
  return kTraits[static_cast<std::size_t>(code)];
}

std::span<const ErrorTraits> all_error_traits() noexcept { return kTraits; }

Error::Error(ErrorCode code, const std::string& message, std::string detail)
    : std::runtime_error(message), code_(code), detail_(std::move(detail)) {}

Error Error::within(std::string_view context) const {
  Error named(code_, std::string(context) + ": " + what(), detail_);
  named.retry_after_ = retry_after_;
  return named;
}

Error Error::retried_after(std::chrono::milliseconds wait) const {
  Error timed = *this;
  timed.retry_after_ = wait;
  return timed;
}

}  // namespace bifocal
