#include "log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warning", "error"};

// How long a line may wait for a reader that was keeping up until now.
constexpr int kPatienceMs = 50;

// SIGPIPE (nobody reads) and SIGXFSZ (the file size limit) would end the process. Both come to the
// thread that writes: they are held back during the write and taken off afterwards.
class WriteSignalsHeld {
 public:
  WriteSignalsHeld() noexcept {
    ::sigemptyset(&signals_);
    ::sigaddset(&signals_, SIGPIPE);
    ::sigaddset(&signals_, SIGXFSZ);
    sigset_t pending;
    ::sigpending(&pending);
    // One that waited before is somebody else's, and cannot be told from ours.
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1 || ::sigismember(&pending, SIGXFSZ) == 1;
    ::pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~WriteSignalsHeld() {
    const timespec at_once{};
    while (!was_pending_ && ::sigtimedwait(&signals_, nullptr, &at_once) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WriteSignalsHeld(const WriteSignalsHeld&) = delete;
  WriteSignalsHeld& operator=(const WriteSignalsHeld&) = delete;

 private:
  sigset_t signals_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

// Length of the well-formed UTF-8 sequence at `text` (table 3-7 of the Unicode Standard); 0 where
// there is none.
std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool in_range =
        second >= (first == 0xe0 ? 0xa0U : 0x80U) && second <= (first == 0xed ? 0x9fU : 0xbfU);
    return in_range && continues(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool in_range =
        second >= (first == 0xf0 ? 0x90U : 0x80U) && second <= (first == 0xf4 ? 0x8fU : 0xbfU);
    return in_range && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

void append_escape(std::string& out, unsigned code) {
  std::array<char, 8> escape{};
  std::snprintf(escape.data(), escape.size(), "\\u%04x", code);
  out += escape.data();
}

// The first `length` bytes of `text`, one character, as a JSON string has it; 0: a byte that is
// none.
void append_character(std::string& out, std::string_view text, std::size_t length) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (length == 0)
    out += "\xef\xbf\xbd";
  else if (first == '"' || first == '\\')
    (out += '\\') += text[0];
  else if (first < 0x20 || first == 0x7f)
    append_escape(out, first);
  else if (first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0)
    append_escape(out, static_cast<unsigned char>(text[1]));  // C1: terminals obey these too
  else
    out += text.substr(0, length);
}

void append_text(std::string& out, std::string_view text) {
  out += '"';
  const std::size_t begin = out.size();
  while (!text.empty()) {
    const std::size_t before = out.size();
    const std::size_t length = utf8_length(text);
    append_character(out, text, length);
    if (out.size() - begin > Log::kMaxText) {
      out.resize(before);
      out += "...";
      break;
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  out += '"';
}

template <typename Number>
void append_number(std::string& out, Number number) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

void append_value(std::string& out, const Log::Field::Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return append_text(out, *text);
  if (const auto* flag = std::get_if<bool>(&value)) {
    out += *flag ? "true" : "false";
  } else if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    append_number(out, *whole);
  } else if (const auto* count = std::get_if<std::uint64_t>(&value)) {
    append_number(out, *count);
  } else if (const double real = std::get<double>(value); std::isfinite(real)) {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), real,
                                   std::chars_format::general, 9)
                         .ptr;
    out.append(digits.data(), end);
  } else {
    out += "null";  // RFC 8259 has no other word for it
  }
}

// RFC 3339, UTC.
void append_time(std::string& out) {
  using namespace std::chrono;
  const auto now = floor<milliseconds>(system_clock::now());
  const auto day = floor<days>(now);
  const year_month_day date{day};
  const hh_mm_ss time{now - day};
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
                static_cast<int>(time.subseconds().count()));
  out += text.data();
}

std::string line_of(Log::Level level, std::string_view event,
                    std::initializer_list<Log::Field> fields) {
  static constexpr std::string_view kCut = ",\"cut\":true";
  static constexpr std::string_view kEnd = "}\n";
  std::string line;
  line.reserve(512);
  line += R"({"ts":")";
  append_time(line);
  line += R"(","level":")";
  line += Log::name(level);
  line += R"(","event":)";
  append_text(line, event);
  for (const Log::Field& field : fields) {
    const auto* text = std::get_if<std::string_view>(&field.value);
    if (text != nullptr && text->empty()) continue;
    const std::size_t before = line.size();
    line += ',';
    append_text(line, field.name);
    line += ':';
    append_value(line, field.value);
    if (line.size() + kCut.size() + kEnd.size() >= Log::kMaxLine) {  // one more for a torn line
      line.resize(before);
      line += kCut;
      break;
    }
  }
  line += kEnd;
  return line;
}

int open_file(const std::string& file) noexcept {
  // O_NONBLOCK: a named pipe without a reader fails at once, and one that is full never holds us.
  return ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                0640);
}

// A description of our own where the system gives one, so that making it non-blocking does not
// change the terminal or the pipe for the processes that share it.
int open_standard_error() noexcept {
  struct stat about {};
  if (::fstat(STDERR_FILENO, &about) != 0) return -1;
  if (!S_ISSOCK(about.st_mode) && !S_ISREG(about.st_mode)) {
    const int own =
        ::open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (own >= 0) return own;
  }
  return ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

bool is_socket(int descriptor) noexcept {
  struct stat about {};
  return descriptor >= 0 && ::fstat(descriptor, &about) == 0 && S_ISSOCK(about.st_mode);
}

}  // namespace

std::string_view Log::name(Level level) noexcept {
  return kLevelNames[static_cast<std::size_t>(level)];
}

std::optional<Log::Level> Log::level_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i)
    if (kLevelNames[i] == name) return static_cast<Level>(i);
  return std::nullopt;
}

Log::Log(Level least, std::string file)
    : least_(least),
      file_(std::move(file)),
      descriptor_(file_.empty() ? open_standard_error() : open_file(file_)) {
  if (descriptor_ < 0 && !file_.empty())
    throw Error(ErrorCode::kIo,
                "log-file: " + file_ + " cannot be opened for writing: " + std::strerror(errno));
  is_socket_ = is_socket(descriptor_);
}

Log::~Log() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Log::write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept {
  if (!writes(level)) return;
  try {
    std::string line = line_of(level, event, fields);
    const std::scoped_lock lock(mutex_);
    write_locked(line);
  } catch (const std::bad_alloc&) {
    ++lost_;
  }
}

void Log::write_locked(std::string_view line) noexcept {
  try {
    if (unreported_ > 0) {
      const std::uint64_t count = unreported_;
      if (put(line_of(Level::kWarning, "log_lines_lost", {{"lines", count}}))) unreported_ = 0;
    }
    if (unreported_ == 0 && put(line)) return;
  } catch (const std::bad_alloc&) {
  }
  ++unreported_;
  ++lost_;
}

bool Log::put(std::string_view line) noexcept {
  if (descriptor_ < 0) return false;
  const WriteSignalsHeld held;
  pollfd ready{descriptor_, POLLOUT, 0};
  int polled = -1;
  do {
    polled = ::poll(&ready, 1, stuck_ ? 0 : kPatienceMs);
  } while (polled < 0 && errno == EINTR);
  ssize_t written = -1;
  // The end of a torn line goes first, with the line in one write.
  if (polled > 0) {
    std::array<char, kMaxLine> bytes;
    std::size_t size = 0;
    if (torn_) bytes[size++] = '\n';
    size += line.copy(bytes.data() + size, bytes.size() - size);
    do {
      written = is_socket_ ? ::send(descriptor_, bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                           : ::write(descriptor_, bytes.data(), size);
    } while (written < 0 && errno == EINTR);
    if (written > 0) torn_ = static_cast<std::size_t>(written) < size;
    stuck_ = written != static_cast<ssize_t>(size);
  } else {
    stuck_ = true;
  }
  return !stuck_;
}

void Log::reopen() noexcept {
  if (file_.empty()) return;
  const int fresh = open_file(file_);
  const int reason = errno;
  if (fresh < 0)
    return write(Level::kError, "log_reopen_failed",
                 {{"file", file_}, {"detail", std::strerror(reason)}});
  const std::scoped_lock lock(mutex_);
  ::close(std::exchange(descriptor_, fresh));
  is_socket_ = is_socket(fresh);
  stuck_ = false;
  torn_ = false;
}

}  // namespace bifocal::http
