#include "nn/cpu/steps.h"

#include <algorithm>

#include "nn/cpu/memory.h"
#include "nn/cpu/team.h"

namespace bifocal::nn::cpu {
namespace {

// Multiplications of a part that is worth handing over, which takes about a microsecond.
constexpr std::int64_t kLeastWork = 150'000;
constexpr std::int64_t kPartsOfThread = 2;  // so that who is done first takes another
constexpr std::int64_t kRows = 24;          // whole tiles of every table

// Calls part(begin, end) for parts of [first, last) that start at edge(near), of a step of so many
// multiplications.
template <typename Edge, typename Part>
void divide(std::int64_t work, std::int64_t first, std::int64_t last, const Edge& edge,
            const Part& part) {
  Team* team = Team::own();
  const int threads = team == nullptr ? 1 : team->threads();
  const std::int64_t parts = std::min(threads * kPartsOfThread, work / kLeastWork);
  if (threads == 1 || parts < 2) {
    part(first, last);
    return;
  }
  const auto begin = [&](std::int64_t i) {
    if (i == 0) return first;
    return i == parts ? last : std::max(first, edge(first + (last - first) * i / parts));
  };
  team->run(static_cast<int>(parts), [&](int i) {
    const std::int64_t from = begin(i), to = begin(i + 1);
    if (from < to) part(from, to);
  });
}

std::int64_t behind(std::int64_t last, std::int64_t all) { return last == 0 ? all : last; }

std::ptrdiff_t bytes_of(const Kernels& kernels, std::int64_t elements) {
  return elements * static_cast<std::ptrdiff_t>(element_bytes(kernels.precision));
}

}  // namespace

void run(const Kernels& kernels, const Gemm& gemm) {
  const std::int64_t last = behind(gemm.last_column, gemm.columns);
  const std::int64_t work = gemm.rows * gemm.depth * (last - gemm.first_column);
  if (gemm.rows > last - gemm.first_column) {
    divide(
        work, 0, gemm.rows, [](std::int64_t row) { return row / kRows * kRows; },
        [&](std::int64_t begin, std::int64_t end) {
          Gemm part = gemm;
          part.rows = end - begin;
          part.a = static_cast<const std::byte*>(gemm.a) + bytes_of(kernels, begin * gemm.a_stride);
          if (gemm.residual != nullptr) part.residual += begin * gemm.residual_stride;
          if (gemm.c != nullptr) part.c += begin * gemm.c_stride;
          if (gemm.narrow_c != nullptr)
            part.narrow_c =
                static_cast<std::byte*>(gemm.narrow_c) + bytes_of(kernels, begin * gemm.c_stride);
          kernels.gemm(part);
        });
    return;
  }
  divide(
      work, gemm.first_column, last,
      [&](std::int64_t column) { return kernels.panel_edge(gemm.columns, column); },
      [&](std::int64_t begin, std::int64_t end) {
        Gemm part = gemm;
        part.first_column = begin;
        part.last_column = end;
        kernels.gemm(part);
      });
}

void run(const Kernels& kernels, const Attention& attention) {
  const std::int64_t size = attention.head_size;
  divide(
      2 * attention.queries * attention.positions * attention.heads * size, 0, attention.heads,
      [](std::int64_t head) { return head; },
      [&](std::int64_t begin, std::int64_t end) {
        const std::size_t floats = kernels.attention_scratch(attention.positions, size);
        Scratch scratch(floats * sizeof(float));
        Attention part = attention;
        part.heads = end - begin;
        part.query += begin * size;
        part.key += begin * size;
        part.value += begin * size;
        part.out = static_cast<std::byte*>(attention.out) + bytes_of(kernels, begin * size);
        part.scratch = scratch.take<float>(floats);
        kernels.attention(part);
      });
}

void run(const Kernels& kernels, const Depthwise& depthwise) {
  const std::int64_t last = behind(depthwise.last_channel, depthwise.channels);
  const std::int64_t expansion = depthwise.expand_weights == nullptr
                                     ? 0
                                     : depthwise.height * depthwise.width * depthwise.depth;
  const std::int64_t of_channel =
      expansion + depthwise.out_height * depthwise.out_width * depthwise.kernel * depthwise.kernel;
  divide(
      of_channel * (last - depthwise.first_channel), depthwise.first_channel, last,
      [&](std::int64_t channel) { return kernels.panel_edge(depthwise.channels, channel); },
      [&](std::int64_t begin, std::int64_t end) {
        const std::size_t floats = kernels.depthwise_scratch(depthwise);
        Scratch scratch(floats * sizeof(float));
        Depthwise part = depthwise;
        part.first_channel = begin;
        part.last_channel = end;
        part.scratch = scratch.take<float>(floats);
        kernels.depthwise(part);
      });
}

}  // namespace bifocal::nn::cpu
