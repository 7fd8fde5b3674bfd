#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/safetensors.h"
#include "nn/cpu/kernels.h"
#include "nn/precision.h"

namespace bifocal::nn {

// The packed weights of one model in a file, so that a start maps what an earlier one has packed:
// one section for each WeightArena, in the order in which they are made. While a Scope lives, the
// arenas that its thread makes take their contents from here where the file has them, and are noted
// for the next file where it has not.
//
// A file is good for one key and one build of the program; for any other, and where it is damaged,
// it holds nothing. It is replaced by renaming, so that what has mapped the old one keeps it, and
// of several that write at once the last one stays. Not thread-safe.
class PackedWeights {
 public:
  // Where the packed weights of a model lie that is in `directory`.
  static std::filesystem::path path_in(const std::filesystem::path& directory, Precision precision);

  // `key` names all that the contents depend on beside this build. Never fails.
  PackedWeights(std::filesystem::path path, std::string_view key);

  // Whether there is a file to take from. What was taken is worth no more than verify().
  bool found() const noexcept { return file_.has_value(); }
  // Whether every arena so far was in it.
  bool had_all() const noexcept { return found() && had_all_; }
  // Whether its contents are those that were written: a checksum. Thread-safe beside a Scope.
  bool verify() const;
  // Writes all that the Scope has seen where the file did not have all of it. A directory that
  // cannot be written, a full disk: then the next start packs again.
  void save() const;
  void remove() const;

  class Scope {
   public:
    explicit Scope(PackedWeights& weights);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PackedWeights* outer_;
  };

  // While it lives, what its thread makes is no part of a model: neither taken from a file nor
  // noted.
  class Aside {
   public:
    Aside();
    ~Aside();
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;

   private:
    PackedWeights* outer_;
  };

  using Memory = std::shared_ptr<const std::byte>;
  // For WeightArena. The section that is next, of these kernels and `bytes`; null where it has to
  // be packed, which keep() is then told.
  static Memory next(const cpu::Kernels& kernels, std::size_t bytes);
  static void keep(const cpu::Kernels& kernels, const Memory& memory, std::size_t bytes);

 private:
  struct Section {
    std::string name;  // its number and its kernels
    Memory memory;
    std::size_t bytes = 0;
  };

  std::filesystem::path path_;
  std::string key_;  // with the build; empty: nothing is kept
  std::optional<core::Safetensors> file_;
  std::vector<Section> sections_;  // of the arenas so far
  bool had_all_ = true;
};

}  // namespace bifocal::nn
