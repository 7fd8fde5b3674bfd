#include "training/tar_archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMaxHeaderText = 1 << 20;  // of a long name or a pax header
using Block = std::array<char, kBlock>;

struct Field {
  std::size_t offset, bytes;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kLink{157, 100}, kMagic{257, 5},
    kPrefix{345, 155};
constexpr std::size_t kType = 156;

std::string text_of(const Block& block, Field field) {
  const char* begin = block.data() + field.offset;
  return {begin, ::strnlen(begin, field.bytes)};
}

// Octal digits, or base 256 where the first bit is set, as GNU writes what is too large.
std::optional<std::uint64_t> number_of(const Block& block, Field field) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(block.data() + field.offset);
  if (bytes[0] & 0x80) {
    std::uint64_t value = bytes[0] & 0x7F;
    for (std::size_t i = 1; i < field.bytes; ++i) {
      if (value >> 55) return std::nullopt;
      value = value << 8 | bytes[i];
    }
    return value;
  }
  std::uint64_t value = 0;
  std::size_t i = 0;
  while (i < field.bytes && bytes[i] == ' ') ++i;
  for (; i < field.bytes && bytes[i] != '\0' && bytes[i] != ' '; ++i) {
    if (bytes[i] < '0' || bytes[i] > '7') return std::nullopt;
    value = value << 3 | static_cast<unsigned>(bytes[i] - '0');
  }
  return value;
}

bool has_valid_checksum(const Block& block) {
  const auto stated = number_of(block, kChecksum);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool within = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.bytes;
    sum += within ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return stated == sum;
}

bool is_zero(const Block& block) { return block == Block{}; }

// "27 path=photographs/1.jpg\n": length, key and value of POSIX.1-2001.
struct PaxHeader {
  std::string path, link;
  std::optional<std::uint64_t> bytes;
};
std::optional<PaxHeader> parse_pax(std::string_view text) {
  PaxHeader header;
  while (!text.empty() && text.front() != '\0') {
    std::size_t length = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), length);
    const auto digits = static_cast<std::size_t>(end - text.data());
    if (failure != std::errc{} || length > text.size() || length < digits + 3 || *end != ' ' ||
        text[length - 1] != '\n')
      return std::nullopt;
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") header.path = value;
    if (key == "linkpath") header.link = value;
    if (key == "size") {
      std::uint64_t bytes = 0;
      if (std::from_chars(value.data(), value.data() + value.size(), bytes).ec != std::errc{})
        return std::nullopt;
      header.bytes = bytes;
    }
    text.remove_prefix(length);
  }
  return header;
}

// Of ustar: GNU's own format has other things where this has the prefix.
std::string short_name(const Block& block) {
  const std::string name = text_of(block, kName), prefix = text_of(block, kPrefix);
  const bool is_ustar = text_of(block, kMagic) == "ustar" && block[kMagic.offset + 5] == '\0';
  return is_ustar && !prefix.empty() ? prefix + "/" + name : name;
}

std::string without_dot(std::string name) {
  while (name.starts_with("./")) name.erase(0, 2);
  return name;
}

}  // namespace

std::shared_ptr<const TarArchive> TarArchive::open(const std::filesystem::path& path) {
  std::shared_ptr<TarArchive> archive(new TarArchive(path));
  archive->index();
  return archive;
}

TarArchive::TarArchive(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int reason = errno;
  if (descriptor_ < 0)
    throw Error(reason == ENOENT || reason == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
                path.string() + ": cannot be opened (" + std::strerror(reason) + ")");
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    throw Error(ErrorCode::kUnsupported,
                path.string() + ": is not a file that can be read at random");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

TarArchive::~TarArchive() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void TarArchive::read_at(std::uint64_t offset, void* into, std::size_t bytes) const {
  auto* next = static_cast<char*>(into);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, next, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      throw Error(ErrorCode::kIo, path_.string() + ": cannot be read (" +
                                      (got < 0 ? std::strerror(errno) : "it ends too soon") + ")");
    next += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

// What the header at `offset` says, its extensions before it included; moves `offset` to the next.
// Null at the end, or where damage_ says why there is no more.
std::optional<TarArchive::Member> TarArchive::next_member(std::uint64_t& offset) {
  std::string long_name, long_link;
  PaxHeader pax;
  const auto damaged = [&](const char* how) {
    damage_ = "the header at byte " + std::to_string(offset) + " " + how;
    return std::nullopt;
  };
  for (;;) {
    if (size_ - offset < kBlock) {
      if (size_ != offset) damage_ = "the archive is cut off";
      return std::nullopt;  // some writers leave out the two empty blocks at the end
    }
    Block block;
    read_at(offset, block.data(), kBlock);
    if (is_zero(block)) return std::nullopt;
    const auto stated = number_of(block, kSize);
    if (!has_valid_checksum(block) || !stated) return damaged("is damaged");

    const char type = block[kType];
    const bool is_extension = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    const bool has_data = type != '1' && type != '2' && type != '5';
    const std::uint64_t bytes = is_extension ? *stated : pax.bytes.value_or(*stated);
    const std::uint64_t data = offset + kBlock;
    if (has_data && bytes > size_ - data) {
      damage_ = "the archive is cut off";
      return std::nullopt;
    }
    const std::uint64_t padded = has_data ? (bytes + kBlock - 1) / kBlock * kBlock : 0;
    if (!is_extension) {
      offset = std::min(size_, data + padded);
      std::string name = !pax.path.empty() ? pax.path : long_name;
      if (name.empty()) name = short_name(block);
      Member member{without_dot(std::move(name)), data, bytes};
      if (type == '1') {
        if (pax.link.empty()) pax.link = long_link.empty() ? text_of(block, kLink) : long_link;
        const Member* target = find(pax.link);
        if (target == nullptr) return Member{};
        member.offset = target->offset;
        member.bytes = target->bytes;
      } else if (type != '0' && type != '\0' && type != '7') {
        return Member{};  // a directory, a symbolic link, a device
      }
      return member;
    }

    if (bytes > kMaxHeaderText) return damaged("is too long");
    std::string text(bytes, '\0');
    read_at(data, text.data(), bytes);
    if (type == 'x') {
      auto parsed = parse_pax(text);
      if (!parsed) return damaged("is damaged");
      pax = *std::move(parsed);
    } else if (type != 'g') {  // global headers hold nothing that changes where bytes are
      (type == 'L' ? long_name : long_link) = text.substr(0, text.find('\0'));
    }
    offset = std::min(size_, data + padded);
  }
}

void TarArchive::index() {
  std::uint64_t offset = 0;
  while (auto member = next_member(offset)) {
    if (member->name.empty() || member->name.ends_with('/')) continue;
    const auto [place, is_new] = by_name_.try_emplace(member->name, members_.size());
    if (is_new)
      members_.push_back(*std::move(member));
    else
      members_[place->second] = *std::move(member);
  }
  if (offset == 0 && (!damage_.empty() || size_ == 0))
    throw Error(ErrorCode::kUnsupported,
                path_.string() +
                    ": is not a tar archive (a compressed one must be unpacked first: "
                    "photographs hardly shrink)");
}

const TarArchive::Member* TarArchive::find(std::string_view name) const {
  const auto found = by_name_.find(without_dot(std::string(name)));
  return found == by_name_.end() ? nullptr : &members_[found->second];
}

std::vector<std::byte> TarArchive::read(const Member& member, std::size_t max_bytes) const {
  if (member.bytes > max_bytes)
    throw Error(ErrorCode::kImageTooLarge, path_.string() + ": " + member.name + " has more than " +
                                               std::to_string(max_bytes) + " bytes");
  std::vector<std::byte> contents(member.bytes);
  read_at(member.offset, contents.data(), contents.size());
  return contents;
}

}  // namespace bifocal::training
