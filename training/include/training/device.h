#pragma once

#include <c10/core/Device.h>

#include <string>

namespace bifocal::training {

// The device that `name` names, as LibTorch writes it: "cpu", "cuda", "cuda:1". Without a number it
// is that of LOCAL_RANK, by which torchrun tells the processes of a machine apart, or 0. Throws
// Error: kInvalidArgument where it is no device's name, kUnsupported where this LibTorch, or this
// machine, has no such device, naming those that it has.
at::Device device_named(const std::string& name);

}  // namespace bifocal::training
