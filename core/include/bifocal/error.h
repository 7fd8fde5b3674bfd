#pragma once
// The one error type of Bifocal. Installed with the public headers: standard library only.

#include <chrono>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "bifocal/export.h"

namespace bifocal {

// A closed set: every failure that a caller can see is one of these.
enum class ErrorCode {
  kInvalidArgument,   // a call or a flag that cannot be served, whatever the data
  kInvalidItem,       // an item without image and text, or a malformed record
  kInvalidImage,      // truncated, corrupt or lying image bytes
  kUnsupportedImage,  // a format, or a variant of one, that is not decoded
  kImageTooLarge,     // more bytes or more pixels than the limits allow
  kInvalidText,       // not UTF-8, or empty where text is needed
  kNotFound,          // a file, a bundle or a label set that is not there
  kInvalidBundle,     // a bundle, checkpoint, config or vocabulary that is corrupt or does not fit
  kUnsupported,       // well formed, but this build or this bundle cannot do it
  kIo,                // the operating system refused to read or write
  kNumerical,         // NaN or infinity where a number should be
  kUnauthenticated,   // no API key, or one that is not known
  kForbidden,         // understood, and refused by a setting
  kMethodNotAllowed,  // the path exists, this method on it does not
  kUnsupportedMedia,  // a body of a content type or encoding that is not read
  kTooLarge,          // a request, or a part of it, beyond a limit
  kHeadersTooLarge,   // the same, of its header
  kRequestTimeout,    // the request arrived too slowly
  kRateLimited,       // more requests than this key may make
  kOverloaded,        // the wait would be too long: refused before any work
  kDeadlineExceeded,  // the caller's deadline passed before the work was done
  kCancelled,         // the caller went away, or called it off
  kUnavailable,       // starting up or shutting down
  kFetchFailed,       // an image could not be fetched from its URL
  kInternal,          // a bug of ours
};

// What each code means at each edge. The only place that decides a status.
struct ErrorTraits {
  ErrorCode code;
  std::string_view name;  // as written in JSON: "invalid_image"
  int http_status;
  int exit_code;   // of the CLI; never 0
  bool retryable;  // whether the same request can succeed later
};

BIFOCAL_EXPORT const ErrorTraits& traits(ErrorCode code) noexcept;
BIFOCAL_EXPORT std::span<const ErrorTraits> all_error_traits() noexcept;

// A message says what is wrong, where, and what to do, and is safe to show to a caller.
// A detail is for the log alone (a library's own words, an offset, a path of ours).
// Copyable and immutable; thread-safe to read.
class BIFOCAL_EXPORT Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string detail = {});

  ErrorCode code() const noexcept { return code_; }
  std::string message() const { return what(); }
  const std::string& detail() const noexcept { return detail_; }

  // The same error, with "context: " before its message: how a reader names its file or field.
  Error within(std::string_view context) const;

  // After how long the same request is likely to succeed, where that is known.
  Error retried_after(std::chrono::milliseconds wait) const;
  std::optional<std::chrono::milliseconds> retry_after() const noexcept { return retry_after_; }

 private:
  ErrorCode code_;
  std::string detail_;
  std::optional<std::chrono::milliseconds> retry_after_;
};

}  // namespace bifocal
