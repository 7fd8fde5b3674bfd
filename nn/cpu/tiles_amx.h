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

  AmxTiles() = default;
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
                                      Ahead& ahead, float* out, std::ptrdiff_t out_stride) {
    if (rows < height_ || rows > 2 * height_) configure(rows);
    const Job job{a, a_stride, rows - height_, panel, vectors, depth, out, out_stride, height_};
    if (job.second > 0)
      vectors == 2 ? run<true, true>(job, ahead) : run<true, false>(job, ahead);
    else
      vectors == 2 ? run<false, true>(job, ahead) : run<false, false>(job, ahead);
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
  };

  // Tiles 0 to 3 are sums, two of a tile of rows; 4 and 5 are of A, 6 and 7 of B.
  BIFOCAL_INLINE_MEMBER void configure(std::int64_t rows) {
    height_ = rows <= kTile ? rows : (rows + 1) / 2;
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.rows[tile] = static_cast<std::uint8_t>(tile < 6 ? height_ : kTile);
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

  template <bool kTwoRows, bool kTwoColumns>
  static __attribute__((noinline)) void run(const Job& job, Ahead& ahead) {
    constexpr std::int64_t kLines = kTwoRows ? 16 : 32;  // of a step, brought to the cache
    _tile_zero(0);
    if (kTwoColumns) _tile_zero(1);
    if (kTwoRows) _tile_zero(2);
    if (kTwoRows && kTwoColumns) _tile_zero(3);
    const auto panel_bytes = static_cast<std::int64_t>(job.vectors * 64);
    const Bf16* panel = job.panel;
    const char* next = ahead.at;
    const auto step = [&](const Bf16* first, const Bf16* second, std::int64_t row_bytes)
        __attribute__((always_inline)) {
      _tile_loadd(6, panel, panel_bytes);
      if (kTwoColumns) _tile_loadd(7, panel + 32, panel_bytes);
      _tile_loadd(4, first, row_bytes);
      _tile_dpbf16ps(0, 4, 6);
      if (kTwoColumns) _tile_dpbf16ps(1, 4, 7);
      if (kTwoRows) {
        _tile_loadd(5, second, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        if (kTwoColumns) _tile_dpbf16ps(3, 5, 7);
      }
      panel += kDepth * job.vectors * kLanes;
      if (next < ahead.end) {
#pragma GCC unroll 32
        for (std::int64_t line = 0; line < kLines; ++line) prefetch(next + 64 * line);
        next += 64 * kLines;
      }
    };
    publish(job.a);
    const Bf16* a = job.a;
    const std::ptrdiff_t second = job.second * job.a_stride;
    const std::int64_t steps = job.depth / kDepth;
    for (std::int64_t i = 0; i < steps; ++i, a += kDepth) step(a, a + second, 2 * job.a_stride);
    if (const std::int64_t rest = job.depth % kDepth; rest != 0) {
      alignas(64) Bf16 tail[kRows * kDepth];
      copy_tail(a, job.a_stride, job.second + job.height, rest, tail);
      publish(tail);
      step(tail, tail + job.second * kDepth, 2 * kDepth);
    }
    ahead.at = next;
    const std::int64_t out_bytes = 4 * job.out_stride;
    float* out = job.out;
    _tile_stored(0, out, out_bytes);
    if (kTwoColumns) _tile_stored(1, out + kTile, out_bytes);
    out += job.second * job.out_stride;
    if (kTwoRows) _tile_stored(2, out, out_bytes);
    if (kTwoRows && kTwoColumns) _tile_stored(3, out + kTile, out_bytes);
  }

  std::int64_t height_ = 0;  // of the tiles of A and of sums; 0: nothing is configured
};

}  // namespace
}  // namespace bifocal::nn::cpu
