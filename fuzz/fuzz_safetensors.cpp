#include <cstdint>
#include <cstdlib>
#include <span>

#include "bifocal/error.h"
#include "core/safetensors.h"

// Every tensor that is shown lies within the document and has the bytes of its shape.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bifocal;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const core::Safetensors document = core::Safetensors::parse(bytes, "fuzz");
    std::uint8_t sum = 0;
    for (const auto& [name, tensor] : document.tensors()) {
      std::size_t expected = core::size_of(tensor.dtype);
      for (const std::int64_t side : tensor.shape) expected *= static_cast<std::size_t>(side);
      if (tensor.data.size() != expected) std::abort();
      for (const std::byte value : tensor.data) sum ^= std::to_integer<std::uint8_t>(value);
      if (&document.at(name) != &tensor) std::abort();
    }
    volatile std::uint8_t read = sum;
    (void)read;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidBundle) std::abort();
  }
  return 0;
}
