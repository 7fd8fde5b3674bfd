#pragma once

namespace bifocal::cli {

// While one lives, the first SIGINT or SIGTERM asks the command to stop after what it has in hand;
// a second one ends the program at once. At most one instance at a time; used by the main thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const noexcept;
  // Becomes readable with the request, so that a wait for input ends with it.
  int descriptor() const noexcept;
  // 128 + the signal, as shells report a program that the signal ended.
  int exit_code() const noexcept;
};

}  // namespace bifocal::cli
