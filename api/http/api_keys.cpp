#include "api_keys.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <system_error>
#include <tuple>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

using Salt = std::array<unsigned char, 16>;
using Hash = std::array<unsigned char, 32>;

constexpr std::string_view kPrefix = "bf_";
constexpr std::size_t kKeyLength = kPrefix.size() + 43;
constexpr std::size_t kMaxName = 64;
constexpr double kMaxRate = 1e9;
constexpr std::size_t kMaxFile = 1 << 20;
constexpr std::string_view kBase64Url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// SHA-256 of a salt and a key. Fetching the algorithm costs more than running it: done once.
class Hasher {
 public:
  Hasher() : context_(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free) {
    static EVP_MD* const sha256 = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    algorithm_ = sha256;
    if (algorithm_ == nullptr || context_ == nullptr)
      throw Error(ErrorCode::kInternal, "API keys cannot be checked", "no SHA-256 in libcrypto");
  }
  Hash operator()(const Salt& salt, std::string_view key) {
    Hash hash{};
    if (::EVP_DigestInit_ex2(context_.get(), algorithm_, nullptr) != 1 ||
        ::EVP_DigestUpdate(context_.get(), salt.data(), salt.size()) != 1 ||
        ::EVP_DigestUpdate(context_.get(), key.data(), key.size()) != 1 ||
        ::EVP_DigestFinal_ex(context_.get(), hash.data(), nullptr) != 1)
      throw Error(ErrorCode::kInternal, "API keys cannot be checked", "SHA-256 failed");
    return hash;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context_;
  const EVP_MD* algorithm_ = nullptr;
};

bool has_form_of_a_key(std::string_view key) noexcept {
  return key.size() == kKeyLength && key.starts_with(kPrefix) &&
         key.find_first_not_of(kBase64Url, kPrefix.size()) == std::string_view::npos;
}

bool is_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

std::string hexadecimal(std::span<const unsigned char> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

bool read_hexadecimal(std::string_view text, std::span<unsigned char> bytes) noexcept {
  if (text.size() != 2 * bytes.size()) return false;
  if (text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, bytes[i], 16);
  return true;
}

// 32 bytes, without padding.
std::string base64url(const Hash& bytes) {
  std::string text;
  unsigned bits = 0;
  unsigned held = 0;
  for (const unsigned char byte : bytes) {
    bits = (bits << 8U) | byte;
    for (held += 8; held >= 6; held -= 6) text += kBase64Url[(bits >> (held - 6)) & 63U];
  }
  text += kBase64Url[(bits << (6 - held)) & 63U];
  return text;
}

void fill_randomly(std::span<unsigned char> bytes) {
  if (::getentropy(bytes.data(), bytes.size()) != 0)
    throw Error(ErrorCode::kIo, "the system gave no random bytes for a key", std::strerror(errno));
}

// The words of a line, up to its comment.
std::vector<std::string_view> words_of(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  line = line.substr(0, line.find('#'));
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t begin = line.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(kBlank), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

Error malformed(const std::string& what) { return Error(ErrorCode::kInvalidArgument, what); }

// The file as it is behind one descriptor: what is checked is what is read.
std::string read_private_file(const std::filesystem::path& path) {
  const std::string name = "api-keys: " + path.string();
  struct Descriptor {
    int number;
    ~Descriptor() {
      if (number >= 0) ::close(number);
    }
  };
  // O_NONBLOCK: a pipe by this name is refused below instead of waited for.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0)
    throw Error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                name + " cannot be opened: " + std::strerror(errno));
  struct stat about {};
  if (::fstat(file.number, &about) != 0 || !S_ISREG(about.st_mode))
    throw Error(ErrorCode::kIo, name + " is not a file");
  if ((about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    throw Error(ErrorCode::kForbidden,
                name +
                    " can be written by others than its owner, who could add keys of their own;"
                    " run chmod go-w on it");
  if (about.st_size > static_cast<off_t>(kMaxFile))
    throw malformed(name + " has more than " + std::to_string(kMaxFile) + " bytes");
  std::string text;
  std::array<char, 4096> part{};
  while (text.size() <= kMaxFile) {
    const ssize_t got = ::read(file.number, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(ErrorCode::kIo, name + " cannot be read: " + std::strerror(errno));
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

ApiKeys ApiKeys::read(const std::filesystem::path& file) {
  return parse(read_private_file(file), "api-keys: " + file.string());
}

ApiKeys::Entry ApiKeys::entry_of(std::string_view line) {
  static constexpr std::string_view kExpected =
      "expected NAME use|admin sha256:SALT:HASH [REQUESTS-A-MINUTE]";
  const auto words = words_of(line);
  if (words.size() != 3 && words.size() != 4) throw malformed(std::string(kExpected));
  Entry entry;
  if (!is_name(words[0]))
    throw malformed("a name has 1 to " + std::to_string(kMaxName) +
                    " letters, digits, dots, dashes or underscores");
  entry.info.name = words[0];
  if (words[1] != "use" && words[1] != "admin") throw malformed("a role is use or admin");
  entry.info.is_admin = words[1] == "admin";

  constexpr std::string_view kScheme = "sha256:";
  constexpr std::size_t kSaltDigits = 2 * std::tuple_size_v<Salt>;
  const std::string_view digest = words[2];
  if (!digest.starts_with(kScheme) || digest.size() <= kScheme.size() + kSaltDigits ||
      digest[kScheme.size() + kSaltDigits] != ':' ||
      !read_hexadecimal(digest.substr(kScheme.size(), kSaltDigits), entry.salt) ||
      !read_hexadecimal(digest.substr(kScheme.size() + kSaltDigits + 1), entry.hash))
    throw malformed("a key is stood for by sha256:SALT:HASH, of 32 and 64 hexadecimal digits");

  if (words.size() == 4) {
    const std::string_view word = words[3];
    double rate = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), rate);
    if (error != std::errc() || end != word.data() + word.size() || !(rate >= 0) || rate > kMaxRate)
      throw malformed("the requests a minute are a number from 0 (no limit) to 1000000000");
    entry.info.per_minute = rate;
  }
  return entry;
}

ApiKeys ApiKeys::parse(std::string_view text, const std::string& file) {
  ApiKeys keys;
  std::map<std::string, std::size_t> names;
  std::map<std::pair<Salt, Hash>, std::size_t> digests;
  const auto only_once = [](bool is_new, std::string_view what, std::size_t first_line) {
    if (!is_new)
      throw malformed("the same " + std::string(what) + " as in line " +
                      std::to_string(first_line));
  };
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (words_of(line).empty()) continue;
    try {
      Entry entry = entry_of(line);
      const auto [name, new_name] = names.emplace(entry.info.name, number);
      only_once(new_name, "name", name->second);
      const auto [digest, new_digest] = digests.emplace(std::pair(entry.salt, entry.hash), number);
      only_once(new_digest, "key", digest->second);
      keys.entries_.push_back(std::move(entry));
      if (keys.entries_.size() > kMaxKeys)
        throw malformed("more than " + std::to_string(kMaxKeys) + " keys");
    } catch (const Error& error) {
      throw error.within(file + ", line " + std::to_string(number));
    }
  }
  if (keys.empty())
    throw malformed(file + " holds no key; leave the setting out to serve without keys");
  return keys;
}

std::optional<KeyInfo> ApiKeys::find(std::string_view key) const {
  // The form is no secret: refusing another one early tells nothing.
  if (entries_.empty() || !has_form_of_a_key(key)) return std::nullopt;
  Hasher hash;
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    const Hash shown = hash(entry.salt, key);
    if (::CRYPTO_memcmp(shown.data(), entry.hash.data(), shown.size()) == 0) found = &entry;
  }
  return found != nullptr ? std::optional(found->info) : std::nullopt;
}

NewKey make_key(std::string_view name, KeyRole role, std::optional<double> per_minute) {
  if (!is_name(name))
    throw malformed("a key's name has 1 to " + std::to_string(kMaxName) +
                    " letters, digits, dots, dashes or underscores");
  if (per_minute && !(*per_minute >= 0 && *per_minute <= kMaxRate))
    throw malformed("a key's requests a minute are a number from 0 (no limit) to 1000000000");
  Hash random{};
  Salt salt{};
  fill_randomly(random);
  fill_randomly(salt);
  NewKey made;
  made.secret = std::string(kPrefix) + base64url(random);
  ::OPENSSL_cleanse(random.data(), random.size());
  made.line = std::string(name) + (role == KeyRole::kAdmin ? " admin" : " use") +
              " sha256:" + hexadecimal(salt) + ":" + hexadecimal(Hasher()(salt, made.secret));
  if (per_minute) {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *per_minute).ptr;
    made.line += " " + std::string(digits.data(), end);
  }
  return made;
}

}  // namespace bifocal::http
