#include "line_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

constexpr std::size_t kBlock = 1 << 16;

int open_for_reading(const std::filesystem::path& path) {
  if (path == "-") return STDIN_FILENO;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) return descriptor;
  const int reason = errno;
  throw Error(reason == ENOENT || reason == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
              path.string() + ": cannot be opened (" + std::strerror(reason) + ")");
}

}  // namespace

LineReader::LineReader(const std::filesystem::path& path, std::size_t max_line_bytes,
                       const Interrupt& interrupt)
    : name_(path == "-" ? "standard input" : path.string()),
      descriptor_(open_for_reading(path)),
      max_line_bytes_(max_line_bytes),
      interrupt_(interrupt) {
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode))
    size_ = static_cast<std::uint64_t>(status.st_size);
}

LineReader::~LineReader() {
  if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
}

LineReader::Outcome LineReader::next(std::string& line) {
  bool too_long = false;
  for (;;) {
    const std::size_t newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos) {
      scanned_ = buffer_.size();
      if (buffer_.size() - begin_ > max_line_bytes_) {
        too_long = true;
        begin_ = scanned_;
      }
      if (fill()) continue;
      if (interrupt_.requested() || (begin_ == buffer_.size() && !too_long)) return Outcome::kEnd;
    }
    const std::size_t end = std::min(newline, buffer_.size());
    line.assign(buffer_, begin_, end - begin_);
    if (line.ends_with('\r')) line.pop_back();
    begin_ = scanned_ = std::min(end + 1, buffer_.size());
    ++line_number_;
    return too_long || line.size() > max_line_bytes_ ? Outcome::kTooLong : Outcome::kLine;
  }
}

// One more block; false at the end of the input or of the user's patience.
bool LineReader::fill() {
  if (ended_) return false;
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  for (;;) {
    pollfd waits[] = {{descriptor_, POLLIN, 0}, {interrupt_.descriptor(), POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR)
      throw Error(ErrorCode::kIo, name_ + ": cannot be waited for", std::strerror(errno));
    if (interrupt_.requested()) return false;
    if (waits[0].revents == 0) continue;

    const std::size_t before = buffer_.size();
    buffer_.resize(before + kBlock);
    const ssize_t got = ::read(descriptor_, buffer_.data() + before, kBlock);
    const int reason = errno;
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && (reason == EINTR || reason == EAGAIN)) continue;
    if (got < 0)
      throw Error(ErrorCode::kIo, name_ + ": cannot be read (" + std::strerror(reason) + ")");
    bytes_read_ += static_cast<std::uint64_t>(got);
    ended_ = got == 0;
    return !ended_;
  }
}

bool LineReader::would_wait() const {
  if (ended_ || buffer_.find('\n', scanned_) != std::string::npos) return false;
  pollfd wait{descriptor_, POLLIN, 0};
  return ::poll(&wait, 1, 0) == 0;
}

std::optional<double> LineReader::fraction_read() const noexcept {
  if (size_ == 0) return std::nullopt;
  const std::uint64_t taken = bytes_read_ - (buffer_.size() - begin_);
  return std::min(1.0, static_cast<double>(taken) / static_cast<double>(size_));
}

}  // namespace bifocal::cli
