#include "interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

volatile sig_atomic_t received_signal = 0;
int wake_pipe[2] = {-1, -1};

extern "C" void note_signal(int signal_number) {
  const int saved_errno = errno;
  received_signal = signal_number;
  // The byte only wakes a poll(): a full pipe would do so as well.
  [[maybe_unused]] const ssize_t written = ::write(wake_pipe[1], "", 1);
  errno = saved_errno;
}

}  // namespace

Interrupt::Interrupt() {
  if (::pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    throw Error(ErrorCode::kIo, "a pipe could not be made", std::strerror(errno));
  received_signal = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
}

Interrupt::~Interrupt() {
  for (const int number : {SIGINT, SIGTERM}) ::signal(number, SIG_DFL);
  for (int& end : wake_pipe) {
    ::close(end);
    end = -1;
  }
}

bool Interrupt::requested() const noexcept { return received_signal != 0; }
int Interrupt::descriptor() const noexcept { return wake_pipe[0]; }
int Interrupt::exit_code() const noexcept { return 128 + received_signal; }

}  // namespace bifocal::cli
