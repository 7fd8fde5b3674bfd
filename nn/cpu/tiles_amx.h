#pragma once
// Products of panels by the tile registers of AMX-BF16 (Intel SDM, volume 2, TDPBF16PS): up to two
// tiles of sixteen rows by two of sixteen columns. On vector_avx512.h and gemm.h; a panel is laid
// out as VectorTiles<Bf16> lays it out, its depth padded to what a tile holds.

#include "gemm.h"

namespace bifocal::nn::cpu {
namespace {

// The instructions below read and write memory that the compiler does not see them touch.
BIFOCAL_INLINE_MEMBER void publish(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

// What LDTILECFG takes.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Lives as long as one call of a kernel: the tiles are configured with the first product, for
// another height when one comes that needs it, and given back at the end, so that neither oneDNN on
// this thread nor the kernel's saving of registers meets them.
class AmxTiles {
 public:
  using Element = Bf16;
  static constexpr std::int64_t kTile = 16;  // rows of A and of C, and columns of B
  static constexpr std::int64_t kRows = 2 * kTile;
  static constexpr std::int64_t kVectors = 2;
  static constexpr std::int64_t kPair = 2;
  static constexpr std::int64_t kDepth = 32;
  static constexpr std::int64_t kStaying = 8192;  // elements of A that stay in the cache

  explicit BIFOCAL_INLINE_MEMBER AmxTiles(std::int64_t depth) : step_(equal_step(depth)) {}
  BIFOCAL_INLINE_MEMBER ~AmxTiles() {
    if (height_ != 0) _tile_release();
  }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  // All of nearly one height, so that the tiles need not be configured anew.
  static BIFOCAL_INLINE_MEMBER std::int64_t block_rows(std::int64_t rows) {
    return blocks_of(rows, blocks_of(rows, kRows));
  }
  // As VectorTiles has it. Two tiles of rows have one height and may share rows, which then are
  // computed twice, to the same bits.
  BIFOCAL_INLINE_MEMBER void multiply(const Bf16* a, std::ptrdiff_t a_stride, std::int64_t rows,
                                      const Bf16* panel, std::int64_t vectors, std::int64_t depth,
                                      Ahead ahead, float* out, std::ptrdiff_t out_stride) {
    if (rows < height_ || rows > 2 * height_) configure(rows);
    const Job job{a,   a_stride,   rows - height_, panel, vectors, depth,
                  out, out_stride, height_,        step_, ahead.at};
    const std::int64_t lines = blocks_of(ahead.bytes, 64 * blocks_of(depth, step_));
    if (job.second > 0)
      vectors == 2 ? run_bringing<true, true>(job, lines) : run_bringing<true, false>(job, lines);
    else
      vectors == 2 ? run_bringing<false, true>(job, lines) : run_bringing<false, false>(job, lines);
  }

 private:
  struct Job {
    const Bf16* a;
    std::ptrdiff_t a_stride;
    std::int64_t second;  // the first row of the second tile of rows; 0: there is none
    const Bf16* panel;
    std::int64_t vectors;
    std::int64_t depth;
    float* out;
    std::ptrdiff_t out_stride;
    std::int64_t height;
    std::int64_t step;
    const char* ahead;
  };

  // Of the depth, so that no step is shorter than the others: what is left over must be copied.
  static BIFOCAL_INLINE_MEMBER std::int64_t equal_step(std::int64_t depth) {
    const std::int64_t fewest = blocks_of(depth, kDepth);
    for (std::int64_t steps = fewest; steps <= fewest + 1; ++steps)
      if (depth % (kPair * steps) == 0) return depth / steps;
    return kDepth;
  }

  // Tiles 0 to 3 are sums, two of a tile of rows; 4 and 5 are of A, 6 and 7 of B.
  BIFOCAL_INLINE_MEMBER void configure(std::int64_t rows) {
    height_ = rows <= kTile ? rows : (rows + 1) / 2;
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      const bool of_a = tile == 4 || tile == 5;
      config.row_bytes[tile] = static_cast<std::uint16_t>(of_a ? 2 * step_ : 64);
      config.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? height_ : step_ / kPair);
    }
    publish(&config);
    _tile_loadconfig(&config);
  }

  // The last of A's columns, zeros behind them: the next row's numbers must not be multiplied, not
  // even by zero.
  static BIFOCAL_INLINE_MEMBER void copy_tail(const Bf16* a, std::ptrdiff_t a_stride,
                                              std::int64_t rows, std::int64_t columns, Bf16* tail) {
    const auto there = static_cast<__mmask32>((1u << columns) - 1);
    for (std::int64_t row = 0; row < rows; ++row)
      _mm512_storeu_si512(tail + row * kDepth, _mm512_maskz_loadu_epi16(there, a + row * a_stride));
  }

  // Lines of what is wanted next that a step brings, at least: a loop over them, not unrolled, cost
  // short texts 3 %.
  template <bool kTwoRows, bool kTwoColumns>
  static BIFOCAL_INLINE_MEMBER void run_bringing(const Job& job, std::int64_t lines) {
    if (lines == 0) return run<kTwoRows, kTwoColumns, 0>(job);
    if (lines <= 4) return run<kTwoRows, kTwoColumns, 4>(job);
    if (lines <= 8) return run<kTwoRows, kTwoColumns, 8>(job);
    if (lines <= 16) return run<kTwoRows, kTwoColumns, 16>(job);
    return run<kTwoRows, kTwoColumns, 32>(job);
  }

  template <bool kTwoRows, bool kTwoColumns, int kLines>
  static __attribute__((noinline)) void run(const Job& job) {
    const char* next = job.ahead;
    _tile_zero(0);
    if (kTwoColumns) _tile_zero(1);
    if (kTwoRows) _tile_zero(2);
    if (kTwoRows && kTwoColumns) _tile_zero(3);
    const auto panel_bytes = static_cast<std::int64_t>(job.vectors * 64);
    const Bf16* panel = job.panel;
    // A block of A that does not fit the first-level cache beside a panel would only push it out.
    const bool streams = (kTwoRows ? 2 : 1) * job.height * job.depth > kStaying;
    const auto step = [&](const Bf16* first, const Bf16* second, std::int64_t row_bytes)
        __attribute__((always_inline)) {
      _tile_loadd(6, panel, panel_bytes);
      if (kTwoColumns) _tile_loadd(7, panel + 32, panel_bytes);
      if (streams)
        _tile_stream_loadd(4, first, row_bytes);
      else
        _tile_loadd(4, first, row_bytes);
      _tile_dpbf16ps(0, 4, 6);
      if (kTwoColumns) _tile_dpbf16ps(1, 4, 7);
      if (kTwoRows) {
        if (streams)
          _tile_stream_loadd(5, second, row_bytes);
        else
          _tile_loadd(5, second, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        if (kTwoColumns) _tile_dpbf16ps(3, 5, 7);
      }
      panel += job.step * job.vectors * kLanes;
#pragma GCC unroll 32
      for (std::int64_t line = 0; line < kLines; ++line) prefetch(next + 64 * line);
      next += 64 * kLines;
    };
    publish(job.a);
    const Bf16* a = job.a;
    const std::ptrdiff_t second = job.second * job.a_stride;
    const std::int64_t steps = job.depth / job.step;
    for (std::int64_t i = 0; i < steps; ++i, a += job.step) step(a, a + second, 2 * job.a_stride);
    if (const std::int64_t rest = job.depth % job.step; rest != 0) {
      alignas(64) Bf16 tail[kRows * kDepth];
      copy_tail(a, job.a_stride, job.second + job.height, rest, tail);
      publish(tail);
      step(tail, tail + job.second * kDepth, 2 * kDepth);
    }
    const std::int64_t out_bytes = 4 * job.out_stride;
    float* out = job.out;
    _tile_stored(0, out, out_bytes);
    if (kTwoColumns) _tile_stored(1, out + kTile, out_bytes);
    out += job.second * job.out_stride;
    if (kTwoRows) _tile_stored(2, out, out_bytes);
    if (kTwoRows && kTwoColumns) _tile_stored(3, out + kTile, out_bytes);
  }

  std::int64_t height_ = 0;  // of the tiles of A and of sums; 0: nothing is configured
  std::int64_t step_;        // of the depth, that one instruction takes
};

}  // namespace
}  // namespace bifocal::nn::cpu
