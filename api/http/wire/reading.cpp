#include "reading.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "../message.h"
#include "core/base64.h"
#include "core/data_uri.h"
#include "json.h"

namespace bifocal::http::wire {
namespace {

bool is_url(std::string_view reference) noexcept {
  const std::string_view head = reference.substr(0, 8);
  return equal_ignoring_case(head.substr(0, 7), "http://") || equal_ignoring_case(head, "https://");
}

// OpenAI's own words for a kind of failure, by which its clients choose their exceptions.
std::string_view openai_type(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kUnauthenticated:
      return "authentication_error";
    case ErrorCode::kForbidden:
      return "permission_error";
    case ErrorCode::kRateLimited:
    case ErrorCode::kOverloaded:
      return "rate_limit_error";
    default:
      return traits(code).http_status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

void read_image(std::string_view reference, std::string_view where, const RequestLimits& limits,
                WorkItem& into) {
  if (is_url(reference)) {
    into.image_url = std::string(reference);
    return;
  }
  try {
    if (core::is_data_uri(reference)) {
      into.item.image = core::decode_data_uri(reference, limits.max_image_bytes);
      return;
    }
    if (reference.size() / 4 * 3 > limits.max_image_bytes + 4)
      throw Error(ErrorCode::kImageTooLarge, "has more bytes than the limit of " +
                                                 std::to_string(limits.max_image_bytes) +
                                                 " (max-image-bytes)");
    into.item.image = core::base64_decode(reference);
  } catch (const Error& error) {
    const bool too_large = error.code() == ErrorCode::kImageTooLarge;
    into.error = Error(too_large ? error.code() : ErrorCode::kInvalidItem,
                       std::string(where) + ": the image " + error.message(), error.detail());
  }
}

void require_model(std::string_view name, const Context& context) {
  const auto& known = context.model_names;
  if (name.empty() || std::find(known.begin(), known.end(), name) != known.end()) return;
  std::string list;
  for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
  throw Error(ErrorCode::kNotFound, "there is no model \"" + std::string(name.substr(0, 100)) +
                                        "\" here; this server has: " + list);
}

void require_items(std::size_t items, std::size_t images, std::string_view what,
                   const RequestLimits& limits) {
  if (items == 0)
    throw Error(ErrorCode::kInvalidArgument,
                std::string(what) + " is empty; send at least one item");
  if (items > limits.max_items)
    throw Error(ErrorCode::kTooLarge, std::string(what) + " has " + std::to_string(items) +
                                          " items, more than the limit of " +
                                          std::to_string(limits.max_items) +
                                          " (max-items); send them in several requests");
  if (images > limits.max_images)
    throw Error(ErrorCode::kTooLarge, std::string(what) + " has " + std::to_string(images) +
                                          " images, more than the limit of " +
                                          std::to_string(limits.max_images) +
                                          " (max-images); send them in several requests");
}

std::vector<float> shorten(std::vector<float> vector, std::size_t dimensions) {
  if (dimensions == 0 || dimensions >= vector.size()) return vector;
  vector.resize(dimensions);
  double sum = 0;
  for (const float value : vector) sum += static_cast<double>(value) * static_cast<double>(value);
  const double norm = std::max(std::sqrt(sum), 1e-12);
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) / norm);
  return vector;
}

std::size_t require_dimensions(std::int64_t dimensions, const Context& context) {
  const std::int64_t most = context.session.info().embedding_size;
  if (dimensions < 1 || dimensions > most)
    throw Error(ErrorCode::kInvalidArgument, "dimensions is " + std::to_string(dimensions) +
                                                 "; this model gives 1 to " + std::to_string(most));
  return static_cast<std::size_t>(dimensions);
}

std::string base64_floats(std::span<const float> vector) {
  static_assert(std::endian::native == std::endian::little);
  return core::base64_encode(std::as_bytes(vector));
}

std::vector<std::int8_t> to_int8(std::span<const float> vector) {
  std::vector<std::int8_t> bytes;
  bytes.reserve(vector.size());
  for (const float value : vector)
    bytes.push_back(static_cast<std::int8_t>(std::lround(std::clamp(value, -1.0f, 1.0f) * 127)));
  return bytes;
}

std::vector<std::uint8_t> to_uint8(std::span<const float> vector) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(vector.size());
  for (const std::int8_t value : to_int8(vector))
    bytes.push_back(static_cast<std::uint8_t>(value + 128));
  return bytes;
}

std::vector<std::uint8_t> to_ubinary(std::span<const float> vector) {
  std::vector<std::uint8_t> bytes((vector.size() + 7) / 8);
  for (std::size_t i = 0; i < vector.size(); ++i)
    if (vector[i] >= 0) bytes[i / 8] = static_cast<std::uint8_t>(bytes[i / 8] | (0x80 >> (i % 8)));
  return bytes;
}

std::vector<std::int8_t> to_binary(std::span<const float> vector) {
  std::vector<std::int8_t> bytes;
  for (const std::uint8_t byte : to_ubinary(vector))
    bytes.push_back(static_cast<std::int8_t>(byte - 128));
  return bytes;
}

Usage usage_of(const std::vector<Result<Embedding>>& results) {
  Usage usage;
  for (const Result<Embedding>& result : results) {
    if (!result.ok()) continue;
    const Provenance& provenance = result.value().provenance;
    usage.tokens += provenance.tokens;
    usage.images += provenance.image_width > 0 ? 1 : 0;
    usage.pixels += provenance.image_width * provenance.image_height;
  }
  return usage;
}

Response json_response(const AnswerJson& body, int status) {
  Response response;
  response.status = status;
  response.body = text_of(body);
  return response;
}

std::string write_openai_error(const Error& error, const Request&) {
  const AnswerJson body = {{"error",
                            {{"message", error.message()},
                             {"type", openai_type(error.code())},
                             {"param", nullptr},
                             {"code", traits(error.code()).name}}}};
  return text_of(body);
}

}  // namespace bifocal::http::wire
