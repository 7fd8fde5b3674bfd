#include "gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>
#include <string>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

std::string compressed(const std::string& text, int window_bits = 15 + 16) {
  z_stream stream{};
  EXPECT_EQ(::deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

ErrorCode refusal(const std::string& body, std::size_t cap) {
  try {
    gunzip(body, cap);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(Gunzip, GivesBackWhatWasCompressedInEitherFormat) {
  std::mt19937 random(1);
  for (const std::size_t size : {0u, 1u, 100u, 5000u, 300'000u}) {
    std::string text(size, ' ');
    for (char& c : text) c = static_cast<char>(random() % (size > 1000 ? 4 : 256));
    EXPECT_EQ(gunzip(compressed(text), size), text);
    EXPECT_EQ(gunzip(compressed(text, 15), size), text);
    EXPECT_EQ(gunzip(compressed(text) + compressed("more"), size + 4), text + "more");
  }
}

TEST(Gunzip, StopsAtTheCapWhateverTheBodyWouldExpandTo) {
  const std::string bomb = compressed(std::string(50'000'000, '\0'));
  EXPECT_EQ(refusal(bomb, 1000), ErrorCode::kTooLarge);
  EXPECT_EQ(refusal(compressed(std::string(1001, 'a')), 1000), ErrorCode::kTooLarge);
  EXPECT_EQ(gunzip(compressed(std::string(1000, 'a')), 1000).size(), 1000u);
}

TEST(Gunzip, RefusesWhatIsCutOrDamagedOrGoesOn) {
  const std::string whole = compressed("a sentence that is long enough to be cut");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(refusal(whole.substr(0, size), 1000), ErrorCode::kInvalidArgument) << size;
  EXPECT_EQ(refusal(whole + "x", 1000), ErrorCode::kInvalidArgument);
  EXPECT_EQ(refusal("{\"items\": []}", 1000), ErrorCode::kInvalidArgument);
  std::string damaged = whole;
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);  // the CRC
  EXPECT_EQ(refusal(damaged, 1000), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace bifocal::http
