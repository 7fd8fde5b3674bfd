#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bifocal::training {

// A tar (POSIX.1-1988 ustar, pax paths and sizes, GNU long names and large sizes) read at random:
// one pass over its headers makes an index, reads go by pread. Immutable; thread-safe.
class TarArchive {
 public:
  struct Member {
    std::string name;  // '/' between folders, no "./" before
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  // Throws Error: kNotFound, kIo, kUnsupported (not a tar, or a compressed one).
  static std::shared_ptr<const TarArchive> open(const std::filesystem::path& path);
  ~TarArchive();
  TarArchive(const TarArchive&) = delete;
  TarArchive& operator=(const TarArchive&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  // Regular files in the archive's order; hard links have their target's bytes. Of two members of
  // one name the later counts, as for tar itself.
  const std::vector<Member>& members() const noexcept { return members_; }
  const Member* find(std::string_view name) const;  // null: there is none
  // Why the index ends early (truncated, a damaged header); empty: it does not.
  const std::string& damage() const noexcept { return damage_; }

  // Throws Error: kIo, kImageTooLarge (more than max_bytes).
  std::vector<std::byte> read(const Member& member, std::size_t max_bytes) const;

 private:
  explicit TarArchive(const std::filesystem::path& path);
  void index();
  std::optional<Member> next_member(std::uint64_t& offset);
  void read_at(std::uint64_t offset, void* into, std::size_t bytes) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::vector<Member> members_;
  std::unordered_map<std::string, std::size_t> by_name_;
  std::string damage_;
};

}  // namespace bifocal::training
