#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::http {

// What a key lets its holder do.
struct KeyInfo {
  std::string name;
  bool is_admin = false;             // may call /v1/admin/ too
  std::optional<double> per_minute;  // requests; 0: no limit; nothing: as the server's setting
};

// The keys that are accepted, from a file with one a line:
//   NAME use|admin sha256:SALT:HASH [REQUESTS-A-MINUTE]
// with SALT 16 bytes and HASH = SHA-256(salt, key), both in lowercase hexadecimal; '#' begins a
// comment. Of the keys themselves nothing is kept.
//
// One pass of SHA-256 is enough here, where a password would need a slow function (Argon2): every
// key has 256 random bits, so that there is no list of likely ones to try against a stolen file.
// For the same reason only keys of the form that make_key() gives are accepted. The salt keeps
// equal keys in two files from being seen as equal.
//
// Immutable, thread-safe; to take a changed file, read it into another object.
class ApiKeys {
 public:
  static constexpr std::size_t kMaxKeys = 1024;  // each costs one hash a request

  ApiKeys() = default;  // holds none

  // Throws Error: kNotFound, kIo; kForbidden where the group or others may write to the file;
  // kInvalidArgument, with the line's number and nothing of the line, for what is malformed or
  // there twice, and for a file without a key, which would open the server to everyone.
  static ApiKeys read(const std::filesystem::path& file);

  // Looks at all entries whatever the key, and compares in constant time.
  std::optional<KeyInfo> find(std::string_view key) const;

  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    KeyInfo info;
    std::array<unsigned char, 16> salt{};
    std::array<unsigned char, 32> hash{};
  };
  static ApiKeys parse(std::string_view text, const std::string& file);
  static Entry entry_of(std::string_view line);

  std::vector<Entry> entries_;
};

enum class KeyRole { kUse, kAdmin };

struct NewKey {
  std::string secret;  // "bf_" and 43 characters of base64url (RFC 4648): 256 random bits
  std::string line;    // for the file, without an end of line
};

// A new key from the system's generator. `name`: 1 to 64 of A-Z a-z 0-9 . _ -. Throws
// Error(kInvalidArgument) for another name or for a rate that is not a number from 0 to 1e9, and
// kIo where the system has no random bytes.
NewKey make_key(std::string_view name, KeyRole role,
                std::optional<double> per_minute = std::nullopt);

}  // namespace bifocal::http
