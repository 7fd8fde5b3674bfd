#include "training/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <system_error>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

// Field numbers of Event, Summary and Summary.Value.
constexpr std::uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5;
constexpr std::uint32_t kValue = 1;
constexpr std::uint32_t kTag = 1, kSimpleValue = 2;

// Protocol Buffers' encoding (protobuf.dev/programming-guides/encoding), as far as an Event needs
// it.
class Message {
 public:
  void add_int64(std::uint32_t field, std::int64_t value) {
    key(field, 0);
    varint(static_cast<std::uint64_t>(value));
  }
  void add_double(std::uint32_t field, double value) {
    key(field, 1);
    fixed(std::bit_cast<std::uint64_t>(value));
  }
  void add_float(std::uint32_t field, float value) {
    key(field, 5);
    fixed(std::bit_cast<std::uint32_t>(value));
  }
  void add_bytes(std::uint32_t field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const noexcept { return bytes_; }

  template <typename Unsigned>
  void fixed(Unsigned value) {  // little-endian
    for (std::size_t i = 0; i < sizeof(Unsigned); ++i)
      bytes_ += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }

 private:
  void key(std::uint32_t field, std::uint32_t wire_type) { varint(field << 3 | wire_type); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7f) | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

constexpr auto kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}();

// TFRecord turns a CRC round and adds to it, since a CRC of data that holds CRCs is weak.
std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

Message event_now() {
  Message event;
  event.add_double(kWallTime, seconds_since_1970());
  return event;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) noexcept {
  std::uint32_t crc = ~0u;
  for (const char byte : bytes)
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& directory) {
  std::error_code failure;
  std::filesystem::create_directories(directory, failure);
  // A process that opens two in one second tells them apart by their number.
  const std::string stem = "events.out.tfevents." +
                           std::to_string(static_cast<std::int64_t>(seconds_since_1970())) + "." +
                           host_name() + "." + std::to_string(::getpid()) + ".";
  int number = 0;
  do path_ = directory / (stem + std::to_string(number++));
  while (std::filesystem::exists(path_));
  file_.open(path_, std::ios::binary);
  if (!file_)
    throw Error(ErrorCode::kIo, path_.string() + ": cannot be created", std::strerror(errno));
  Message event = event_now();
  event.add_bytes(kFileVersion, "brain.Event:2");
  write(event.bytes());
}

void EventFile::add_scalar(std::string_view tag, double value, std::int64_t step) {
  Message scalar;
  scalar.add_bytes(kTag, tag);
  scalar.add_float(kSimpleValue, static_cast<float>(value));
  Message summary;
  summary.add_bytes(kValue, scalar.bytes());
  Message event = event_now();
  event.add_int64(kStep, step);
  event.add_bytes(kSummary, summary.bytes());
  write(event.bytes());
}

void EventFile::write(const std::string& event) {
  Message length;
  length.fixed(static_cast<std::uint64_t>(event.size()));
  Message record = length;
  record.fixed(masked_crc(length.bytes()));
  Message data_crc;
  data_crc.fixed(masked_crc(event));
  file_.clear();
  file_ << record.bytes() << event << data_crc.bytes() << std::flush;
}

}  // namespace bifocal::training
