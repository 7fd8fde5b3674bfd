// The parts of HTTP that are read by code of our own; the first byte chooses which.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "bifocal/error.h"
#include "core/base64.h"
#include "core/data_uri.h"
#include "gzip.h"
#include "json_body.h"
#include "multipart.h"
#include "npy_reader.h"
#include "router.h"
#include "url.h"

namespace {

using namespace bifocal;

void require(bool holds) {
  if (!holds) std::abort();
}

bool within(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void read_base64(std::string_view text) {
  const auto bytes = core::base64_decode(text);
  require(core::base64_decode(core::base64_encode(bytes)) == bytes);
}

void read_multipart(std::string_view text) {
  for (const std::string_view type :
       {"multipart/form-data; boundary=b", "multipart/form-data; boundary=\"a b\"; charset=utf-8"})
    for (const http::Part& part : http::parse_multipart(type, text))
      require(within(part.data, text));
}

void read_json(std::string_view text) {
  const auto json = http::parse_json(text, 16);
  if (!json.is_object()) return;
  const http::JsonObject object(json);
  for (const auto& member : json.items()) {
    try {
      const auto value = object.integer(member.key(), -3, 3);
      require(value >= -3 && value <= 3);
    } catch (const Error&) {
    }
    (void)object.place(member.key());
  }
}

void read_url(std::string_view text) {
  const http::Url base = http::parse_url("https://a.example:444/b/c?d");
  const http::Url next = http::follow(base, text);
  require(!next.host.empty() && next.target.starts_with("/"));
  const http::Url whole = http::parse_url(text);
  require(!whole.host.empty() && whole.target.find_first_of("\r\n ") == std::string::npos);
}

void read_npy(std::string_view text) {
  const std::string aligned(text);  // as a mapped file is
  const http::NpyMatrix matrix = http::read_npy(std::as_bytes(std::span(aligned)));
  require(matrix.values.size() == matrix.rows * matrix.columns);
  float sum = 0;
  for (const float value : matrix.values) sum += value;
  volatile float read = sum;
  (void)read;
}

void read(std::uint8_t which, std::string_view text) {
  switch (which % 8) {
    case 0:
      return read_base64(text);
    case 1:
      (void)core::decode_data_uri(text, 1 << 16);
      return;
    case 2:
      return read_multipart(text);
    case 3:
      require(http::gunzip(text, 1 << 16).size() <= 1 << 16);
      return;
    case 4:
      return read_json(text);
    case 5:
      (void)http::parse_target(text);
      return;
    case 6:
      return read_url(text);
    default:
      return read_npy(text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    read(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const Error&) {  // that is the answer
  }
  return 0;
}
