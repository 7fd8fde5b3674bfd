#include "training/device.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <cstdlib>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

std::int64_t count_of(at::DeviceType type) {
  if (type == at::kCPU) return 1;
  return c10::impl::hasDeviceGuardImpl(type) ? c10::impl::getDeviceGuardImpl(type)->deviceCount()
                                             : 0;
}

// "cpu, cuda:0 to cuda:1"
std::string present() {
  std::string names = "cpu";
  for (int i = 0; i < static_cast<int>(at::COMPILE_TIME_MAX_DEVICE_TYPES); ++i) {
    const auto type = static_cast<at::DeviceType>(i);
    // Meta tensors have shapes and no values.
    if (type == at::kCPU || type == at::kMeta || count_of(type) == 0) continue;
    const std::string name = c10::DeviceTypeName(type, /*lower_case=*/true);
    names += ", " + name + ":0";
    if (count_of(type) > 1) names += " to " + name + ":" + std::to_string(count_of(type) - 1);
  }
  return names;
}

at::Device parsed(const std::string& name) {
  try {
    return at::Device(name);
  } catch (const c10::Error&) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "device: \"" + name + "\" is no device's name; one is \"cpu\", \"cuda\" or \"cuda:1\"");
  }
}

}  // namespace

at::Device device_named(const std::string& name) {
  const at::Device device = parsed(name);
  if (device.is_cpu()) return at::kCPU;
  std::string wanted = name;
  std::int64_t index = device.index();  // below 0 where LibTorch's eight bits do not hold it
  if (!device.has_index()) {
    const char* rank = std::getenv("LOCAL_RANK");
    index = rank == nullptr ? 0 : std::atoll(rank);
    wanted += ":" + std::to_string(index) + (rank == nullptr ? "" : " (of LOCAL_RANK)");
  }
  if (device.is_meta() || index < 0 || index >= count_of(device.type()))
    throw Error(ErrorCode::kUnsupported,
                "device: there is no " + wanted + " for this LibTorch (" + TORCH_VERSION +
                    "), only " + present() +
                    "; build Bifocal with a LibTorch that has it, or leave --device out");
  return {device.type(), static_cast<at::DeviceIndex>(index)};
}

}  // namespace bifocal::training
