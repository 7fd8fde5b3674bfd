#include <array>
#include <string>

#include "bifocal/error.h"
#include "nn/encoder_layer_config.h"

namespace bifocal::nn {
namespace {

struct NamedActivation {
  std::string_view name;
  Activation activation;
};
// The first name of each activation is the one that is written.
constexpr std::array kNames = {
    NamedActivation{"gelu", Activation::kGeluErf},
    NamedActivation{"gelu_erf", Activation::kGeluErf},
    NamedActivation{"gelu_python", Activation::kGeluErf},
    NamedActivation{"gelu_new", Activation::kGeluTanh},
    NamedActivation{"gelu_fast", Activation::kGeluTanh},
    NamedActivation{"gelu_pytorch_tanh", Activation::kGeluTanh},
    NamedActivation{"relu", Activation::kRelu},
    NamedActivation{"silu", Activation::kSilu},
    NamedActivation{"swish", Activation::kSilu},
    NamedActivation{"relu6", Activation::kRelu6},
};

}  // namespace

Activation activation_from_name(std::string_view name) {
  std::string known;
  for (const NamedActivation& entry : kNames) {
    if (entry.name == name) return entry.activation;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error(ErrorCode::kUnsupported,
              "The activation \"" + std::string(name) + "\" is not one of " + known);
}

std::string_view name_of(Activation activation) noexcept {
  for (const NamedActivation& entry : kNames) {
    if (entry.activation == activation) return entry.name;
  }
  return {};
}

}  // namespace bifocal::nn
