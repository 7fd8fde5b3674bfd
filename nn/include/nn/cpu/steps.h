#pragma once

#include "nn/cpu/kernels.h"

// The steps of a forward pass that take nearly all of its time, done by the calling thread with its
// Team, where it has one and the step is large enough to be shared. A step's numbers have the same
// bits however many share it. Scratch memory is the steps' own.
namespace bifocal::nn::cpu {

void run(const Kernels& kernels, const Gemm& gemm);
void run(const Kernels& kernels, const Attention& attention);  // but for `scratch`
void run(const Kernels& kernels, const Depthwise& depthwise);  // but for `scratch`

}  // namespace bifocal::nn::cpu
