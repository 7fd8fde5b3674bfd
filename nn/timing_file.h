#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace bifocal::nn {

// What a timing of kernels found.
struct Timing {
  std::string kernels;  // cpu::Kernels::name; empty: LibTorch's operators
  double seconds = 0;
};

// Timings of this CPU by this build, kept for the next process in kernels-<hash>.json of
// $BIFOCAL_CACHE_DIR, else $XDG_CACHE_HOME/bifocal, else ~/.cache/bifocal. The hash is that of what
// was timed: the CPU and the candidates. A file that cannot be read or written is as none, and an
// empty BIFOCAL_CACHE_DIR asks for none: it only saves time. Processes may share it: it is renamed
// into its place, and of two that add at once one may have to time again. Not thread-safe.
class TimingFile {
 public:
  explicit TimingFile(std::string timed);  // what was timed, in words

  std::optional<Timing> find(const std::string& product) const;
  void add(const std::string& product, const Timing& timing);
  void remove();

 private:
  std::string timed_;
  std::filesystem::path path_;  // empty: none
};

}  // namespace bifocal::nn
