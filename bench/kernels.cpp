// Kernels of nn/cpu one by one, in the shapes of EfficientNet-B0, for each table that runs here:
//
//   build/release/bench/bench_kernels [--benchmark_filter=avx2]
//
// "GFLOP/s" counts multiplications and additions of the convolutions alone. "peak" is a product
// whose operands stay in the first-level cache: what the others are held against.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nn/cpu/kernels.h"
#include "nn/cpu/memory.h"

namespace {

using namespace bifocal::nn;

// Floats on a boundary of 64 bytes, all of one small number.
class Floats {
 public:
  explicit Floats(std::int64_t count)
      : memory_(cpu::allocate_aligned(static_cast<std::size_t>(count) * sizeof(float))) {
    for (float& value : std::span(data(), static_cast<std::size_t>(count))) value = 0.01f;
  }
  float* data() const { return reinterpret_cast<float*>(memory_.get()); }

 private:
  cpu::AlignedBytes memory_;
};

void count_flops(benchmark::State& state, std::int64_t multiply_adds) {
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(multiply_adds),
                                                 benchmark::Counter::kIsIterationInvariantRate);
}

Floats packed(const cpu::Kernels& kernels, std::int64_t depth, std::int64_t columns) {
  Floats weights(static_cast<std::int64_t>(kernels.packed_bytes(depth, columns) / sizeof(float)));
  kernels.pack(Floats(depth * columns).data(), depth, columns, weights.data());
  return weights;
}

struct Product {
  const char* name;
  std::int64_t rows, depth, columns;
  bool activated;
};

void product(benchmark::State& state, const cpu::Kernels* kernels, Product shape) {
  const Floats a(shape.rows * shape.depth), c(shape.rows * shape.columns), bias(shape.columns);
  const Floats weights = packed(*kernels, shape.depth, shape.columns);
  cpu::Gemm gemm;
  gemm.rows = shape.rows;
  gemm.a = a.data();
  gemm.a_stride = shape.depth;
  gemm.weights = weights.data();
  gemm.depth = shape.depth;
  gemm.columns = shape.columns;
  gemm.bias = bias.data();
  gemm.activated = shape.activated;
  gemm.activation = Activation::kSilu;
  gemm.c = c.data();
  gemm.c_stride = shape.columns;
  for (auto _ : state) kernels->gemm(gemm);
  count_flops(state, shape.rows * shape.depth * shape.columns);
}

struct Depthwise {
  const char* name;
  std::int64_t size, depth, channels, kernel, stride;  // depth 0: nothing is expanded
  Activation activation = Activation::kSilu;
};

void depthwise(benchmark::State& state, const cpu::Kernels* kernels, Depthwise shape) {
  const std::int64_t depth = shape.depth == 0 ? shape.channels : shape.depth;
  const std::int64_t out = (shape.size + shape.stride - 1) / shape.stride;
  const std::int64_t area = shape.kernel * shape.kernel;
  const Floats x(shape.size * shape.size * depth), y(out * out * shape.channels);
  const Floats weights(area * shape.channels), bias(shape.channels), means(shape.channels);
  const Floats expand = packed(*kernels, depth, shape.channels);
  cpu::Depthwise job;
  job.x = x.data();
  job.height = job.width = shape.size;
  job.depth = depth;
  job.expand_weights = shape.depth == 0 ? nullptr : expand.data();
  job.expand_bias = bias.data();
  job.channels = shape.channels;
  job.kernel = shape.kernel;
  job.stride = shape.stride;
  job.pad_top = job.pad_left = (shape.kernel - shape.stride) / 2;
  job.weights = weights.data();
  job.bias = bias.data();
  job.activated = true;
  job.activation = shape.activation;
  job.out_height = job.out_width = out;
  job.out = y.data();
  job.out_stride = shape.channels;
  job.means = means.data();
  const Floats scratch(static_cast<std::int64_t>(kernels->depthwise_scratch(job)));
  job.scratch = scratch.data();
  for (auto _ : state) kernels->depthwise(job);
  count_flops(state, shape.size * shape.size * shape.depth * shape.channels +
                         out * out * area * shape.channels);
}

void add_benchmarks(const cpu::Kernels* kernels) {
  const std::string prefix = std::string(kernels->name) + "/";
  for (const Product& shape :
       {Product{"peak", 48, 128, 48, false}, Product{"project 112: 32 to 16", 12544, 32, 16, false},
        Product{"project 56: 144 to 24", 3136, 144, 24, false},
        Product{"project 14: 480 to 80", 196, 480, 80, false},
        Product{"project 7: 1152 to 192", 49, 1152, 192, false},
        Product{"head 7: 320 to 1280", 49, 320, 1280, true},
        Product{"squeeze: 1152 to 48", 1, 1152, 48, true}})
    benchmark::RegisterBenchmark((prefix + shape.name).c_str(), product, kernels, shape)
        ->Unit(benchmark::kMicrosecond);
  for (const Depthwise& shape :
       {Depthwise{"depthwise 112: 32, 3 x 3", 112, 0, 32, 3, 1},
        Depthwise{"MBConv 112: 16 to 96, 3 x 3, stride 2", 112, 16, 96, 3, 2},
        Depthwise{"MBConv 56: 24 to 144, 3 x 3", 56, 24, 144, 3, 1},
        Depthwise{"MBConv 56: 24 to 144, 3 x 3, ReLU6", 56, 24, 144, 3, 1, Activation::kRelu6},
        Depthwise{"MBConv 28: 40 to 240, 5 x 5", 28, 40, 240, 5, 1},
        Depthwise{"MBConv 14: 112 to 672, 5 x 5", 14, 112, 672, 5, 1},
        Depthwise{"MBConv 7: 192 to 1152, 5 x 5", 7, 192, 1152, 5, 1}})
    benchmark::RegisterBenchmark((prefix + shape.name).c_str(), depthwise, kernels, shape)
        ->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const cpu::Kernels* kernels : cpu::all_kernels(Precision::kFp32))
    if (kernels->runs_here()) add_benchmarks(kernels);
  benchmark::RunSpecifiedBenchmarks();
}
