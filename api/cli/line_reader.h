#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "interrupt.h"

namespace bifocal::cli {

// Lines of a file or of standard input in bounded memory, however long the input and its lines.
class LineReader {
 public:
  enum class Outcome {
    kLine,
    kTooLong,  // the line was skipped to its end
    kEnd,      // of the input, or the user interrupted
  };

  // `path` "-" is standard input. Throws Error: kNotFound, kIo.
  LineReader(const std::filesystem::path& path, std::size_t max_line_bytes,
             const Interrupt& interrupt);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line, without its "\n" or "\r\n". Throws Error(kIo).
  Outcome next(std::string& line);
  // Whether next() would have to wait for whoever writes the input.
  bool would_wait() const;

  std::uint64_t line_number() const noexcept { return line_number_; }  // of the last, from 1
  // From 0 to 1; nothing where the input has no known size.
  std::optional<double> fraction_read() const noexcept;

 private:
  bool fill();

  std::string name_;
  int descriptor_ = -1;
  std::size_t max_line_bytes_;
  const Interrupt& interrupt_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of what no one has taken yet
  std::size_t scanned_ = 0;  // no newline lies in [begin_, scanned_)
  bool ended_ = false;
  std::uint64_t line_number_ = 0;
  std::uint64_t bytes_read_ = 0;
  std::uint64_t size_ = 0;  // 0: not known
};

}  // namespace bifocal::cli
