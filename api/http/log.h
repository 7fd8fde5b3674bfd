#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace bifocal::http {

// What happens, one JSON object (RFC 8259) a line, in UTF-8:
//   {"ts":"2026-01-02T03:04:05.678Z","level":"info","event":"request","status":200}
// Thread-safe. Once it is open nothing here throws, ends the process, or waits longer than 50 ms on
// a reader that is stuck: what cannot be written is counted and dropped, and the count is written
// as the event "log_lines_lost" as soon as writing works again. (A disk that neither writes nor
// fails does hold the caller: there is no way to ask it beforehand.)
class Log {
 public:
  enum class Level { kDebug, kInfo, kWarning, kError };
  static std::string_view name(Level level) noexcept;  // "debug", "info", "warning", "error"
  static std::optional<Level> level_named(std::string_view name) noexcept;

  // A name and a value. Borrows its texts: for the duration of one write().
  struct Field {
    using Value = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view>;

    template <typename T>
    Field(std::string_view field_name, const T& field_value)
        : name(field_name), value(stored(field_value)) {}

    std::string_view name;
    Value value;

   private:
    template <typename T>
    static Value stored(const T& given) {
      if constexpr (std::is_same_v<T, bool>)
        return given;
      else if constexpr (std::is_floating_point_v<T>)
        return static_cast<double>(given);
      else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
        return static_cast<std::int64_t>(given);
      else if constexpr (std::is_integral_v<T>)
        return static_cast<std::uint64_t>(given);
      else
        return std::string_view(given);
    }
  };

  // A line has at most this many bytes, its end included: a pipe (PIPE_BUF) takes that many in one
  // piece, so that the lines of several processes do not mix. Fields that do not fit are left out,
  // and "cut":true says so. Of a text at most kMaxText bytes, escapes counted, are written, then
  // "...".
  static constexpr std::size_t kMaxLine = 4096;
  static constexpr std::size_t kMaxText = 1024;

  // Appends to `file`, made with mode 0640 where there is none; to standard error, as it is now,
  // where `file` is empty. Throws Error(kIo) where the file cannot be opened. A standard error that
  // is closed is no error: its lines are lost.
  Log(Level least, std::string file);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool writes(Level level) const noexcept { return level >= least_; }

  // Nothing where the level is below the least one. Control characters are escaped, bytes that are
  // not UTF-8 become U+FFFD, NaN and infinity become null; a field with an empty text is left out.
  void write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept;

  // Opens the file by its name again, for whoever moved it away (logrotate). Where that fails the
  // old one goes on, with a line about it. Standard error stays what it is.
  void reopen() noexcept;

  // Lines dropped since the start.
  std::uint64_t lost() const noexcept { return lost_; }

 private:
  void write_locked(std::string_view line) noexcept;
  bool put(std::string_view line) noexcept;

  const Level least_;
  const std::string file_;
  std::atomic<std::uint64_t> lost_{0};
  std::mutex mutex_;  // guards what follows
  int descriptor_ = -1;
  bool is_socket_ = false;
  bool stuck_ = false;            // the last write did not go through: do not wait again
  bool torn_ = false;             // a part of a line was written, without its end
  std::uint64_t unreported_ = 0;  // of the lost lines
};

}  // namespace bifocal::http
