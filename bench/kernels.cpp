// Kernels of nn/cpu one by one, in the shapes of EfficientNet-B0, of MiniLM-L6 and BERT-base and of
// the default fusion layer, for each table that runs here:
//
//   build/release/bench/bench_kernels [--benchmark_filter=avx2]
//
// "GFLOP/s" counts multiplications and additions of products and convolutions alone. "peak" is a
// product whose operands stay in the first-level cache: what the others are held against. Each
// kernel meets the same weights again and again: those of a model that is larger than the caches
// come from memory, at the rate of "read", which goes through so many MiB (the weights of MiniLM's
// layers in bf16 and of BERT-base's in bf16 and float32).

#include <benchmark/benchmark.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
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

// The same small number in the table's element.
Floats operand(const cpu::Kernels& kernels, std::int64_t count) {
  Floats numbers(count);  // room for either
  kernels.narrow(Floats(count).data(), count, 1, count, numbers.data(), count);
  return numbers;
}

Floats packed(const cpu::Kernels& kernels, std::int64_t depth, std::int64_t columns) {
  Floats weights(static_cast<std::int64_t>(kernels.packed_bytes(depth, columns) / sizeof(float)));
  kernels.pack(Floats(depth * columns).data(), depth, columns, weights.data());
  return weights;
}

void read(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0)) << 18;
  const Floats numbers(static_cast<std::int64_t>(count));
  const std::span<const float> all(numbers.data(), count);
  for (auto _ : state) {
    std::uint32_t sums[16] = {};  // apart, so that no addition waits for another
    for (std::size_t i = 0; i < count; i += 16)
      for (std::size_t j = 0; j < 16; ++j) sums[j] += std::bit_cast<std::uint32_t>(all[i + j]);
    benchmark::DoNotOptimize(sums);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(4 * count));
}

struct Product {
  const char* name;
  std::int64_t rows, depth, columns;
  std::optional<Activation> activation = std::nullopt;
};

void product(benchmark::State& state, const cpu::Kernels* kernels, Product shape) {
  const Floats a = operand(*kernels, shape.rows * shape.depth);
  const Floats c(shape.rows * shape.columns), bias(shape.columns);
  const Floats weights = packed(*kernels, shape.depth, shape.columns);
  cpu::Gemm gemm;
  gemm.rows = shape.rows;
  gemm.a = a.data();
  gemm.a_stride = shape.depth;
  gemm.weights = weights.data();
  gemm.depth = shape.depth;
  gemm.columns = shape.columns;
  gemm.bias = bias.data();
  gemm.activated = shape.activation.has_value();
  gemm.activation = shape.activation.value_or(Activation::kSilu);
  gemm.c = c.data();
  gemm.c_stride = shape.columns;
  for (auto _ : state) kernels->gemm(gemm);
  count_flops(state, shape.rows * shape.depth * shape.columns);
}

struct Attention {
  const char* name;
  std::int64_t positions, heads, head_size;
};

void attention(benchmark::State& state, const cpu::Kernels* kernels, Attention shape) {
  const std::int64_t size = shape.heads * shape.head_size;
  const Floats qkv(shape.positions * 3 * size), out(shape.positions * size);
  const Floats scratch(
      static_cast<std::int64_t>(kernels->attention_scratch(shape.positions, shape.head_size)));
  cpu::Attention job;
  job.positions = job.queries = shape.positions;
  job.heads = shape.heads;
  job.head_size = shape.head_size;
  job.query = qkv.data();
  job.key = qkv.data() + size;
  job.value = qkv.data() + 2 * size;
  job.query_stride = job.key_value_stride = 3 * size;
  job.out = out.data();
  job.out_stride = size;
  job.scratch = scratch.data();
  for (auto _ : state) kernels->attention(job);
  count_flops(state, 2 * shape.positions * shape.positions * size);
}

void layer_norm(benchmark::State& state, const cpu::Kernels* kernels, std::int64_t rows,
                std::int64_t size) {
  const Floats x(rows * size), out(rows * size), weight(size), bias(size);
  cpu::LayerNorm norm;
  norm.rows = rows;
  norm.size = size;
  norm.x = x.data();
  norm.x_stride = norm.out_stride = size;
  norm.weight = weight.data();
  norm.bias = bias.data();
  norm.eps = 1e-12;
  norm.out = out.data();
  for (auto _ : state) kernels->layer_norm(norm);
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
  const Floats x = operand(*kernels, shape.size * shape.size * depth);
  const Floats y(out * out * shape.channels);
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
  const std::string precision(name_of(kernels->precision));
  const std::string prefix =
      std::string(kernels->name) + (precision == "fp32" ? "/" : ", " + precision + "/");
  for (const Product& shape :
       {Product{"peak", 48, 128, 48}, Product{"project 112: 32 to 16", 12544, 32, 16},
        Product{"project 56: 144 to 24", 3136, 144, 24},
        Product{"project 14: 480 to 80", 196, 480, 80},
        Product{"project 7: 1152 to 192", 49, 1152, 192},
        Product{"head 7: 320 to 1280", 49, 320, 1280, Activation::kSilu},
        Product{"squeeze: 1152 to 48", 1, 1152, 48, Activation::kSilu},
        Product{"MiniLM, 16 tokens: queries, keys, values", 16, 384, 1152},
        Product{"MiniLM, 16 tokens: MLP, GELU", 16, 384, 1536, Activation::kGeluErf},
        Product{"MiniLM, 16 tokens: MLP, second", 16, 1536, 384},
        Product{"MiniLM, 128 tokens: queries, keys, values", 128, 384, 1152},
        Product{"MiniLM, 128 tokens: MLP, GELU", 128, 384, 1536, Activation::kGeluErf},
        Product{"MiniLM, 128 tokens: MLP, second", 128, 1536, 384},
        Product{"BERT-base, 16 tokens: MLP, GELU", 16, 768, 3072, Activation::kGeluErf},
        Product{"BERT-base, 128 tokens: MLP, GELU", 128, 768, 3072, Activation::kGeluErf},
        Product{"fusion, 49 + 20 tokens: pictures", 49, 1280, 256},
        Product{"fusion, 49 + 20 tokens: queries, keys, values", 70, 256, 768}})
    benchmark::RegisterBenchmark((prefix + shape.name).c_str(), product, kernels, shape)
        ->Unit(benchmark::kMicrosecond);
  for (const Attention& shape : {Attention{"attention, 16 tokens, 12 heads of 32", 16, 12, 32},
                                 Attention{"attention, 128 tokens, 12 heads of 32", 128, 12, 32},
                                 Attention{"attention, 128 tokens, 12 heads of 64", 128, 12, 64},
                                 Attention{"attention, 70 tokens, 8 heads of 32", 70, 8, 32}})
    benchmark::RegisterBenchmark((prefix + shape.name).c_str(), attention, kernels, shape)
        ->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark((prefix + "layer norm, 128 tokens of 384").c_str(), layer_norm,
                               kernels, 128, 384)
      ->Unit(benchmark::kMicrosecond);
  if (kernels->depthwise == nullptr) return;
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
  for (const Precision precision : kPrecisions)
    for (const cpu::Kernels* kernels : cpu::all_kernels(precision))
      if (kernels->runs_here() && !kernels->emulated) add_benchmarks(kernels);
  benchmark::RegisterBenchmark("read, MiB", read)
      ->Arg(20)
      ->Arg(162)
      ->Arg(324)
      ->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
}
