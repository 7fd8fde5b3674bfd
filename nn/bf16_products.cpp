#include "nn/bf16_products.h"

namespace bifocal::nn {
namespace {

thread_local bool products_in_bf16 = false;

}  // namespace

Bf16Products::Bf16Products() noexcept : before_(products_in_bf16) { products_in_bf16 = true; }
Bf16Products::~Bf16Products() { products_in_bf16 = before_; }
bool Bf16Products::wanted() noexcept { return products_in_bf16; }

}  // namespace bifocal::nn
