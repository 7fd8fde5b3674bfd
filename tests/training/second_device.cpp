#include "second_device.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/MTIAHooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace bifocal::testing {
namespace {

constexpr auto kType = at::DeviceType::MTIA;
const at::Device kDevice(kType, 0);

// The host's memory under the device's name.
struct Memory : c10::Allocator {
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = bytes == 0 ? nullptr : c10::GetCPUAllocator()->raw_allocate(bytes);
    return {data, data, &release, kDevice};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  static void release(void* data) {
    if (data != nullptr) c10::GetCPUAllocator()->raw_deallocate(data);
  }
};

struct Guard : c10::impl::NoOpDeviceGuardImpl<kType> {
  at::Device exchangeDevice(at::Device) const override { return kDevice; }
  at::Device getDevice() const override { return kDevice; }
  c10::Stream getStream(at::Device) const noexcept override { return only_stream(); }
  c10::Stream getDefaultStream(at::Device) const override { return only_stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return only_stream(); }
  static c10::Stream only_stream() { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
};

bool added = false;

// LibTorch makes one of them when it first asks what there is, which may be before it is added.
struct Hooks : at::MTIAHooksInterface {
  bool hasMTIA() const override { return added; }
  bool isBuilt() const override { return added; }
  bool isAvailable() const override { return added; }
  bool hasPrimaryContext(at::DeviceIndex) const override { return true; }
  at::DeviceIndex deviceCount() const override { return added ? 1 : 0; }
  at::DeviceIndex getCurrentDevice() const override { return 0; }
  // So that masks are drawn as on the CPU.
  const at::Generator& getDefaultGenerator(at::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};

const c10::Registerer<std::string, std::unique_ptr<at::MTIAHooksInterface>> registered(
    "MTIAHooks", at::MTIAHooksRegistry(),
    [] { return std::unique_ptr<at::MTIAHooksInterface>(new Hooks); });

Memory* memory() {
  static Memory memory;
  return &memory;
}

at::ScalarType type_or_float(std::optional<at::ScalarType> type) {
  return type.value_or(at::kFloat);
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, memory(), c10::DispatchKeySet(c10::DispatchKey::MTIA),
                                   type_or_float(type), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, memory(), c10::DispatchKeySet(c10::DispatchKey::MTIA), type_or_float(type));
}

// The same memory as a tensor of the host.
at::Tensor on_host(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                       at::dtype(tensor.scalar_type()));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  at::Tensor target = on_host(to);
  if (target.numel() > 0) target.copy_(on_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar(const at::Tensor& number) {
  return at::native::_local_scalar_dense_cpu(on_host(number));
}

// Writes statistics that its schema does not say it writes: the fallback would lose them.
std::tuple<at::Tensor, at::Tensor, at::Tensor> batch_norm(
    const at::Tensor& input, const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& running_mean,
    const std::optional<at::Tensor>& running_var, bool training, double momentum, double eps) {
  const auto host = [](const std::optional<at::Tensor>& x) {
    return x && x->defined() ? std::optional(on_host(*x)) : std::nullopt;
  };
  const auto [normed, mean, deviation] =
      at::native_batch_norm(on_host(input), host(weight), host(bias), host(running_mean),
                            host(running_var), training, momentum, eps);
  return {normed.to(kDevice), mean.to(kDevice), deviation.to(kDevice)};
}

// The two that LibTorch leaves to each device.
at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, std::int64_t groups) {
  std::optional<at::Tensor> shift;
  if (bias && bias->defined()) shift = on_host(*bias);
  return at::convolution(on_host(input), on_host(weight), shift, stride, padding, dilation,
                         transposed, output_padding, groups)
      .to(kDevice);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, std::int64_t groups, std::array<bool, 3> wanted) {
  const std::vector<std::int64_t> bias{weight.size(transposed ? 1 : 0)};
  const auto [of_input, of_weight, of_bias] =
      at::convolution_backward(on_host(gradient), on_host(input), on_host(weight), bias, stride,
                               padding, dilation, transposed, output_padding, groups, wanted);
  const auto there = [](const at::Tensor& x) { return x.defined() ? x.to(kDevice) : x; };
  return {there(of_input), there(of_weight), there(of_bias)};
}

void check(const at::Tensor& tensor, const c10::OperatorHandle& op) {
  TORCH_CHECK(!tensor.defined() || tensor.dim() == 0 || tensor.device() == kDevice,
              op.schema().name(), " is given tensors on ", kDevice, " and on ", tensor.device());
}

void by_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  for (const c10::IValue& argument : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (argument.isTensor()) check(argument.toTensor(), op);
    if (argument.isTensorList())
      for (const at::Tensor& tensor : argument.toTensorVector()) check(tensor, op);
    if (argument.isOptionalTensorList())
      for (const std::optional<at::Tensor>& tensor : argument.toOptionalTensorVector())
        if (tensor) check(*tensor, op);
  }
  at::native::cpu_fallback(op, stack);
}

}  // namespace

void add_second_device() {
  if (added) return;
  added = true;
  c10::SetAllocator(kType, memory());
  static Guard guard;
  c10::impl::device_guard_impl_registry[static_cast<std::size_t>(kType)].store(&guard);
  static torch::Library all(torch::Library::IMPL, "_", c10::DispatchKey::MTIA, __FILE__, __LINE__);
  all.fallback(torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>());
  static torch::Library own(torch::Library::IMPL, "aten", c10::DispatchKey::MTIA, __FILE__,
                            __LINE__);
  own.impl("empty.memory_format", TORCH_FN(empty));
  own.impl("empty_strided", TORCH_FN(empty_strided));
  own.impl("_copy_from", TORCH_FN(copy_from));
  own.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  own.impl("_local_scalar_dense", TORCH_FN(local_scalar));
  own.impl("native_batch_norm", TORCH_FN(batch_norm));
  own.impl("convolution_overrideable", TORCH_FN(convolution));
  own.impl("convolution_backward_overrideable", TORCH_FN(convolution_backward));
  own.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  own.impl("view", TORCH_FN(at::native::view));
  own.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  own.impl("unfold", TORCH_FN(at::native::unfold));
  own.impl("resize_", TORCH_FN(at::native::resize_));
  own.impl("set_.source_Tensor", TORCH_FN(at::native::set_tensor_));
  own.impl("set_.source_Storage", TORCH_FN(at::native::set_));
  own.impl("set_.source_Storage_storage_offset", TORCH_FN(at::native::set_storage_cpu_));
}

}  // namespace bifocal::testing
