#pragma once
// Functions of one vector of floats, on a vector_*.h.

#include "nn/encoder_layer_config.h"

namespace bifocal::nn::cpu {

constexpr float kLog2E = 1.44269504088896341f;
// A float of this size has no fraction: adding it and taking it away rounds. What is added stands
// in its last eight bits, moved by 127 as in an exponent.
constexpr float kRounding = 12582912.0f + 127.0f;

// 2^r for r from -0.5 to 0.5: a minimax polynomial that leaves 1e-7 relative, or 7.5e-5.
BIFOCAL_INLINE Vector exp2_of_fraction(Vector r) {
  if (kRough) {
    const Vector cubic = fma(fill(5.51713231e-2f), r, fill(2.42611331e-1f));
    return fma(fma(cubic, r, fill(6.93261089e-1f)), r, fill(9.99928047e-1f));
  }
  Vector p = fma(fill(1.3264727252495258e-3f), r, fill(9.671512785773169e-3f));
  p = fma(p, r, fill(5.550733744471412e-2f));
  p = fma(p, r, fill(2.402224208311188e-1f));
  p = fma(p, r, fill(6.93146977597678e-1f));
  return fma(p, r, fill(1.0f));
}

// 2^x for x <= 126.
BIFOCAL_INLINE Vector exp2(Vector x) {
  const Vector bounded = max(fill(-160), x);  // -inf has no fraction
  const Vector whole = round(bounded);
  return scale(exp2_of_fraction(sub(bounded, whole)), whole);
}

// x / (1 + 2^(a b)), a b from -126 to 126.
BIFOCAL_INLINE Vector over_one_plus_exp2(Vector x, Vector a, Vector b) {
  const Vector rounded = fma(a, b, fill(kRounding));
  const Vector fraction = fma(a, b, sub(fill(kRounding), rounded));
  return over(x, fma(exp2_of_fraction(fraction), exp2_of_last_bits(rounded), fill(1.0f)));
}

// x Phi(x), where Phi - 1/2 is odd: a minimax polynomial in x^2 over [0, 4.15], 1/2 at its end,
// leaves 7e-5 absolute without an exponential or a division, and 1e-6 below -4.15.
BIFOCAL_INLINE Vector rough_gelu_erf(Vector x) {
  const Vector low = max(fill(-4.15f), x);
  const Vector t = min(fill(4.15f), low);
  const Vector u = mul(t, t);
  Vector p = fill(-9.398484457074915e-10f);
  p = fma(p, u, fill(8.190697676299742e-8f));
  p = fma(p, u, fill(-3.1035983736437045e-6f));
  p = fma(p, u, fill(6.777981783464044e-5f));
  p = fma(p, u, fill(-9.572105157250751e-4f));
  p = fma(p, u, fill(9.323758421019936e-3f));
  p = fma(p, u, fill(-6.557466786017165e-2f));
  p = fma(p, u, fill(3.984939445684977e-1f));
  return mul(low, fma(t, p, fill(0.5f)));
}

// x Phi(x): log2 of the odds against Phi is odd and nearly cubic; a minimax polynomial in x^2 over
// [0, 6] leaves 7e-8 absolute. Below -6 the result is under 6e-9 in size.
BIFOCAL_INLINE Vector gelu_erf(Vector x) {
  if (kRough) return rough_gelu_erf(x);
  const Vector low = max(fill(-6), x);
  const Vector t = min(fill(6), low);
  const Vector u = mul(t, t);
  Vector p = fill(-5.209916054127461e-9f);
  p = fma(p, u, fill(3.850453538234433e-7f));
  p = fma(p, u, fill(-1.1452436410763767e-5f));
  p = fma(p, u, fill(1.5938945580273867e-4f));
  p = fma(p, u, fill(9.559274622006342e-5f));
  p = fma(p, u, fill(-1.0483857989311218e-1f));
  p = fma(p, u, fill(-2.3022072315216064f));
  return over_one_plus_exp2(low, p, t);
}

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid of twice that.
BIFOCAL_INLINE Vector gelu_tanh(Vector x) {
  const Vector low = max(fill(-10), x);
  const Vector t = min(fill(10), low);
  const Vector cubic = fma(mul(mul(t, t), t), fill(0.044715f), t);
  return over_one_plus_exp2(low, cubic, fill(-2 * 0.7978845608028654f * kLog2E));
}

BIFOCAL_INLINE Vector silu(Vector x) {
  const Vector low = max(fill(-87), x);
  return over_one_plus_exp2(low, min(fill(87), low), fill(-kLog2E));
}

BIFOCAL_INLINE Vector sigmoid(Vector x) {
  return over_one_plus_exp2(fill(1), min(fill(87), max(fill(-87), x)), fill(-kLog2E));
}

// What a loop over vectors applies to each, chosen outside of it.
struct Identity {
  BIFOCAL_INLINE_MEMBER Vector operator()(Vector x) const { return x; }
};
template <Activation kActivation>
struct Activate {
  BIFOCAL_INLINE_MEMBER Vector operator()(Vector x) const {
    if constexpr (kActivation == Activation::kGeluErf) return gelu_erf(x);
    if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh(x);
    if constexpr (kActivation == Activation::kRelu) return max(fill(0), x);
    if constexpr (kActivation == Activation::kSilu) return silu(x);
    if constexpr (kActivation == Activation::kRelu6) return min(fill(6), max(fill(0), x));
  }
};

template <typename Body>
BIFOCAL_INLINE void with_activation(bool activated, Activation activation, const Body& body) {
  if (!activated) {
    body(Identity());
    return;
  }
  switch (activation) {
    case Activation::kGeluErf:
      return body(Activate<Activation::kGeluErf>());
    case Activation::kGeluTanh:
      return body(Activate<Activation::kGeluTanh>());
    case Activation::kRelu:
      return body(Activate<Activation::kRelu>());
    case Activation::kSilu:
      return body(Activate<Activation::kSilu>());
    case Activation::kRelu6:
      return body(Activate<Activation::kRelu6>());
  }
}

}  // namespace bifocal::nn::cpu
