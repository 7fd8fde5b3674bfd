#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace bifocal::cli {

// Thrown where whoever read our output has gone: not a failure, only the end.
struct BrokenPipe {
  static constexpr int kExitCode = 141;  // as if SIGPIPE had ended the program
};

// Standard output or a file, buffered, with every write checked. A regular file is written beside
// its place and takes it on commit(): what stands there is the old file or the whole new one.
// Every member throws Error(kIo), or BrokenPipe.
class Output {
 public:
  explicit Output(const std::filesystem::path& path);  // "-": standard output
  ~Output();  // without commit(): removes what was written, unless kept
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view bytes);
  void flush();
  // Writes over bytes that flush() has put in the file already. Only for a regular file.
  void overwrite(std::uint64_t offset, std::string_view bytes);
  void commit();
  // Leaves the unfinished file beside its place, and says where; empty if there is none.
  std::filesystem::path keep_unfinished();

  bool is_regular_file() const noexcept { return !temporary_.empty(); }

 private:
  [[noreturn]] void fail(int reason) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty: written in place, as pipes and devices are
  int descriptor_ = -1;
  std::string buffer_;
  bool keep_ = false;
};

// For commands that make several files in a directory. Throws Error(kInvalidArgument) where it
// exists and `force` was not given.
void require_new_directory(const std::filesystem::path& directory, bool force);

// Writes all of `text` to standard output.
void print(std::string_view text);

}  // namespace bifocal::cli
