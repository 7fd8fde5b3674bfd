#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../work.h"
#include "json.h"

// What several wire formats read and write alike.
namespace bifocal::http::wire {

// An image as JSON strings give it: a data URI, plain base64, or an http(s) URL, which goes to
// `image_url`. `where` ("input[3].image") names it in errors. Throws Error(kInvalidItem,
// kImageTooLarge).
void read_image(std::string_view reference, std::string_view where, const RequestLimits& limits,
                WorkItem& into);

// Throws Error(kNotFound) where `name` is none of the served ones; an empty one is always served.
void require_model(std::string_view name, const Context& context);

// Throws Error(kTooLarge) naming the limit and the number, kInvalidArgument for none at all.
void require_items(std::size_t items, std::size_t images, std::string_view what,
                   const RequestLimits& limits);

// For formats that have no place for one item's error: the first one, said with its place
// ("input[3]: ...").
template <typename T>
void throw_first_error(const std::vector<Result<T>>& results, std::string_view what) {
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!results[i].ok())
      throw results[i].error().within(std::string(what) + "[" + std::to_string(i) + "]");
}

// The first `dimensions` numbers of a vector, brought back to length 1 (the vectors are trained
// whole: docs/serving.md says what cutting costs). 0 or its size: as it is.
std::vector<float> shorten(std::vector<float> vector, std::size_t dimensions);
// Throws Error(kInvalidArgument) where it is not from 1 to the embedding's size.
std::size_t require_dimensions(std::int64_t dimensions, const Context& context);

// The number of elements in an embedding's bytes as the formats send it.
std::string base64_floats(std::span<const float> vector);           // little-endian float32
std::vector<std::int8_t> to_int8(std::span<const float> vector);    // round(127 x)
std::vector<std::uint8_t> to_uint8(std::span<const float> vector);  // int8 + 128
// A bit a number, most significant first, set where x >= 0; the last byte filled with zeros.
std::vector<std::uint8_t> to_ubinary(std::span<const float> vector);
std::vector<std::int8_t> to_binary(std::span<const float> vector);  // the same bytes, less 128

struct Usage {
  std::int64_t tokens = 0;
  std::int64_t images = 0;
  std::int64_t pixels = 0;
};
Usage usage_of(const std::vector<Result<Embedding>>& results);

// An answer in JSON; what is not UTF-8 in it is replaced (U+FFFD).
Response json_response(const AnswerJson& body, int status = 200);

// {"error": {"message", "type", "param", "code"}}: OpenAI's form and our own.
std::string write_openai_error(const Error& error, const Request& request);

}  // namespace bifocal::http::wire
