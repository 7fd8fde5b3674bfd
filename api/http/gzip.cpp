#include "gzip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

constexpr int kGzipOrZlib = 15 + 32;  // zlib's window bits: the format is told by its header

[[noreturn]] void refuse(const char* what, const z_stream& stream) {
  throw Error(ErrorCode::kInvalidArgument, std::string("the compressed body ") + what,
              stream.msg != nullptr ? stream.msg : "");
}

[[noreturn]] void too_large(std::size_t max_bytes) {
  throw Error(ErrorCode::kTooLarge, "the compressed body expands to more than the limit of " +
                                        std::to_string(max_bytes) + " bytes (max-expanded-bytes)");
}

}  // namespace

std::string gunzip(std::string_view body, std::size_t max_bytes) {
  z_stream stream{};
  if (::inflateInit2(&stream, kGzipOrZlib) != Z_OK)
    throw Error(ErrorCode::kInternal, "there was not enough memory to decompress the body");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> ended(&stream, ::inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());

  std::string expanded;
  std::size_t used = 0;
  for (;;) {
    if (used == expanded.size()) {
      // Grown as the data asks for it, so that a small body costs little whatever the cap.
      const std::size_t most = max_bytes + 1;  // one more tells that there is more
      if (used >= most) too_large(max_bytes);
      expanded.resize(std::min(most, std::max<std::size_t>(2 * used, 4 * body.size() + 1024)));
    }
    stream.next_out = reinterpret_cast<Bytef*>(expanded.data() + used);
    stream.avail_out = static_cast<uInt>(std::min<std::size_t>(expanded.size() - used, 1u << 30));
    const std::size_t offered = stream.avail_out;
    const int state = ::inflate(&stream, Z_NO_FLUSH);
    used += offered - stream.avail_out;
    if (used > max_bytes) too_large(max_bytes);
    if (state == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      if (::inflateReset(&stream) != Z_OK) refuse("is damaged", stream);
      continue;  // the next member
    }
    if (state == Z_BUF_ERROR || (state == Z_OK && stream.avail_in == 0 && stream.avail_out > 0))
      refuse("ends too early", stream);
    if (state != Z_OK) refuse("is not gzip, or damaged", stream);
  }
  expanded.resize(used);
  return expanded;
}

}  // namespace bifocal::http
