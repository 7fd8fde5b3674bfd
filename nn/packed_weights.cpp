#include "nn/packed_weights.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/mapped_file.h"
#include "core/sha256.h"

namespace bifocal::nn {
namespace {

namespace fs = std::filesystem;

thread_local PackedWeights* current = nullptr;

constexpr const char* kKey = "key";
constexpr const char* kChecksum = "sha256";

// The linker's build identifier of the program or library that this code is in, which changes with
// any of its code; empty where the linker gave none.
struct BuildOf {
  std::uintptr_t address;
  std::string id;
};

constexpr std::size_t aligned(std::size_t size) { return (size + 3) / 4 * 4; }

std::string build_id_in(std::span<const std::byte> notes) {
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(notes.data());
    const std::size_t before = sizeof *note + aligned(note->n_namesz);
    const std::size_t whole = before + aligned(note->n_descsz);
    if (whole > notes.size()) break;
    if (note->n_type == NT_GNU_BUILD_ID) return core::sha256_hex(notes.first(whole));
    notes = notes.subspan(whole);
  }
  return {};
}

int look_at_object(dl_phdr_info* object, std::size_t, void* found) {
  auto& build = *static_cast<BuildOf*>(found);
  const std::span headers(object->dlpi_phdr, object->dlpi_phnum);
  bool is_it = false;
  for (const ElfW(Phdr) & header : headers) {
    const std::uintptr_t begin = object->dlpi_addr + header.p_vaddr;
    is_it = is_it || (header.p_type == PT_LOAD && build.address >= begin &&
                      build.address < begin + header.p_memsz);
  }
  if (!is_it) return 0;
  for (const ElfW(Phdr) & header : headers)
    if (header.p_type == PT_NOTE && build.id.empty())
      build.id = build_id_in({reinterpret_cast<const std::byte*>(object->dlpi_addr +  // NOLINT
                                                                 header.p_vaddr),
                              header.p_memsz});
  return 1;
}

const std::string& build_id() {
  static const std::string id = [] {
    BuildOf build{reinterpret_cast<std::uintptr_t>(&look_at_object), {}};
    ::dl_iterate_phdr(look_at_object, &build);
    return build.id;
  }();
  return id;
}

std::string checksum_of(const std::map<std::string, core::TensorView, std::less<>>& sections) {
  std::string all;
  for (const auto& [name, view] : sections) all += name + " " + core::sha256_hex(view.data) + "\n";
  return core::sha256_hex(core::as_bytes(all));
}

std::optional<core::Safetensors> opened(const fs::path& path, const std::string& key) {
  if (key.empty() || !fs::exists(path)) return std::nullopt;
  try {
    core::Safetensors file = core::Safetensors::open(path);
    const auto written_for = file.metadata().find(kKey);
    if (written_for != file.metadata().end() && written_for->second == key) return file;
  } catch (const Error&) {  // damaged: packed anew
  }
  return std::nullopt;
}

std::string section_name(std::size_t number, const cpu::Kernels& kernels) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%06zu ", number);
  return digits + std::string(kernels.name) + " " + std::string(name_of(kernels.precision));
}

}  // namespace

fs::path PackedWeights::path_in(const fs::path& directory, Precision precision) {
  return directory / "packed" / (std::string(name_of(precision)) + ".safetensors");
}

PackedWeights::PackedWeights(fs::path path, std::string_view key) : path_(std::move(path)) {
  if (!build_id().empty() && !key.empty())
    key_ = core::sha256_hex(core::as_bytes(build_id() + "\n" + std::string(key)));
  file_ = opened(path_, key_);
}

bool PackedWeights::verify() const {
  if (!file_) return false;
  const auto written = file_->metadata().find(kChecksum);
  const bool intact =
      written != file_->metadata().end() && written->second == checksum_of(file_->tensors());
  for (const auto& [name, view] : file_->tensors()) core::MappedFile::let_go(view.data);
  return intact;
}

void PackedWeights::save() const {
  if (key_.empty() || sections_.empty() || had_all()) return;
  std::error_code ignored;
  fs::create_directory(path_.parent_path(), ignored);
  if (::access(path_.parent_path().c_str(), W_OK) != 0) return;  // before the work of a checksum
  std::map<std::string, core::TensorView, std::less<>> views;
  for (const Section& section : sections_)
    views.emplace(section.name, core::TensorView{core::DType::kU8,
                                                 {static_cast<std::int64_t>(section.bytes)},
                                                 {section.memory.get(), section.bytes}});
  try {
    core::write_safetensors(path_, views, {{kKey, key_}, {kChecksum, checksum_of(views)}});
  } catch (const Error&) {  // the next start packs again
  }
}

void PackedWeights::remove() const {
  std::error_code ignored;
  fs::remove(path_, ignored);
}

PackedWeights::Scope::Scope(PackedWeights& weights) : outer_(std::exchange(current, &weights)) {}
PackedWeights::Scope::~Scope() { current = outer_; }
PackedWeights::Aside::Aside() : outer_(std::exchange(current, nullptr)) {}
PackedWeights::Aside::~Aside() { current = outer_; }

PackedWeights::Memory PackedWeights::next(const cpu::Kernels& kernels, std::size_t bytes) {
  if (current == nullptr || !current->file_) return nullptr;
  const core::Safetensors& file = *current->file_;
  const std::string name = section_name(current->sections_.size(), kernels);
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end() || found->second.data.size() != bytes) return nullptr;
  Memory memory(file.mapping(), found->second.data.data());
  current->sections_.push_back({name, memory, bytes});
  return memory;
}

void PackedWeights::keep(const cpu::Kernels& kernels, const Memory& memory, std::size_t bytes) {
  if (current == nullptr) return;
  current->had_all_ = false;
  current->sections_.push_back({section_name(current->sections_.size(), kernels), memory, bytes});
}

}  // namespace bifocal::nn
