#pragma once
// Products of 8-bit integers, on gemm.h's tiles.
//
// A row of A is rounded to whole steps, of which its largest number is 127, when it is multiplied;
// a column of B when it is packed. What multiplies four of both at once wants A without a sign: 128
// is added to A, and taken from the sums again, 128 times what the column sums to. A sum of
// integers depends on no order, and a row's steps on that row alone: its bits are the same in any
// block.
//
// Behind each panel that gemm.h lays out stand, for each of its columns, what is to be taken from
// the sums of every slice of the depth, and its step: [slices + 1][vectors][kLanes].

#include "gemm.h"
#include "rows.h"
#include "table.h"

namespace bifocal::nn::cpu {

using Quantised = std::uint8_t;  // in A a number of steps and 128; in B the bits of a signed number
constexpr std::int32_t kZero = 128;

#ifdef __AVX512VNNI__
// Not __m512i, which holds eight numbers: GCC 12 spills each sum of a tile at every change of kind.
typedef std::int32_t Integers __attribute__((vector_size(64)));
BIFOCAL_INLINE std::int32_t highest(Integers x) { return _mm512_reduce_max_epi32((__m512i)x); }
// x, from -127 to 127, to the nearest whole number; of NaN anything.
BIFOCAL_INLINE void store_quantised(Quantised* p, Vector x) {
  const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x));
  _mm_storeu_si128((__m128i*)p, _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}

template <>
struct Product<Quantised> {
  static constexpr std::int64_t kDepth = 4;
  static constexpr bool kEmulated = false;
  using Sums = Integers;
  using Weights = __m512i;
  BIFOCAL_INLINE Weights weights(const Quantised* b) { return _mm512_loadu_si512(b); }
  BIFOCAL_INLINE Weights broadcast(const Quantised* a) {
    int four;
    __builtin_memcpy(&four, a, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  // What stands behind a row meets zeros.
  BIFOCAL_INLINE Weights broadcast_last(const Quantised* a) { return broadcast(a); }
  BIFOCAL_INLINE Sums step(Sums sums, Weights a, Weights b) {
    return (Sums)_mm512_dpbusd_epi32((__m512i)sums, a, b);
  }
};
#else
BIFOCAL_INLINE std::int32_t highest(Integers x) {
  std::int32_t most = x[0];
  for (std::int64_t i = 1; i < kLanes; ++i) most = most > x[i] ? most : x[i];
  return most;
}
BIFOCAL_INLINE void store_quantised(Quantised* p, Vector x) {
  const Integers bits = (Integers)(x + 12582912.0f);  // its last byte is the whole number
  for (std::int64_t i = 0; i < kLanes; ++i) p[i] = static_cast<Quantised>(bits[i] ^ kZero);
}

template <>
struct Product<Quantised> {
  static constexpr std::int64_t kDepth = 4;
  static constexpr bool kEmulated = true;
  using Sums = Integers;
  struct Weights {
    Integers parts[kDepth];
  };
  BIFOCAL_INLINE Weights weights(const Quantised* b) {
    Integers fours;
    __builtin_memcpy(&fours, b, sizeof(fours));
    return {{fours << 24 >> 24, fours << 16 >> 24, fours << 8 >> 24, fours >> 24}};
  }
  BIFOCAL_INLINE Weights broadcast(const Quantised* a) {
    return {{Integers{} + a[0], Integers{} + a[1], Integers{} + a[2], Integers{} + a[3]}};
  }
  BIFOCAL_INLINE Weights broadcast_last(const Quantised* a) { return broadcast(a); }
  BIFOCAL_INLINE Sums step(Sums sums, const Weights& a, const Weights& b) {
    for (std::int64_t i = 0; i < kDepth; ++i) sums += a.parts[i] * b.parts[i];
    return sums;
  }
};
#endif

BIFOCAL_INLINE Integers load_bits(const void* p) {
  Integers x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
BIFOCAL_INLINE Vector to_float(Integers x) { return __builtin_convertvector(x, Vector); }
// The larger of two numbers' sizes, by their bits: more than infinity's is NaN.
BIFOCAL_INLINE Integers larger(Integers size, Vector x) {
  const Integers other = (Integers)x & 0x7fffffff;
  return size > other ? size : other;
}

using Int8Tiles = VectorTiles<Quantised>;

// Of a depth, what is summed in 32 bits and then in a float: 255 * 127 * kSlice stay under 2^31.
constexpr std::int64_t kSlice = 8192;
// Rows that are quantised together, for all panels: at most so many, and as the buffer takes, which
// stands on the stack: 64 KiB hold 40 rows of MiniLM's longest depth, 1536.
constexpr std::int64_t kMostRows = 128;
constexpr std::int64_t kBuffer = kTileRows * (kSlice + 64);

// Bytes from row to row of the buffer: an odd number of cache lines, as row_stride has it.
static std::int64_t quantised_stride(std::int64_t depth) {
  return (blocks_of(least(depth, kSlice), 64) | 1) * 64;
}

// The types of this file are its source's alone, as their members are compiled for its
// instructions.
namespace {

// What one step is, and how many make 1.
struct Steps {
  float size, count;
};

// One panel where it is packed.
template <typename Byte>
struct Int8Panel {
  std::int64_t depth, lanes;
  Byte* weights;

  std::int64_t slices() const { return blocks_of(depth, kSlice); }
  std::int64_t weight_bytes() const { return blocks_of(depth, Int8Tiles::kDepth) * 4 * lanes; }
  std::int64_t bytes() const { return weight_bytes() + (slices() + 1) * 4 * lanes; }
  Byte* slice(std::int64_t i) const { return weights + i * kSlice * lanes; }
  // Of one column of the panel, and of those behind it.
  Byte* zeros(std::int64_t slice, std::int64_t lane) const {
    return weights + weight_bytes() + 4 * (slice * lanes + lane);
  }
  Byte* step(std::int64_t lane) const { return zeros(slices(), lane); }
};

}  // namespace

// Where the largest number has these bits.
static Steps steps_of(std::int32_t bits) {
  constexpr std::int32_t kInfinity = 0x7f800000;
  constexpr float kLeast = 4e-37f;  // of less, a 127th has no inverse
  if (bits >= kInfinity) return {__builtin_nanf(""), 0};
  float most;
  __builtin_memcpy(&most, &bits, sizeof(most));
  if (most < kLeast) return {0, 0};
  return {most / 127, 127 / most};
}

static Steps steps_of_row(const float* x, std::int64_t size) {
  Integers most{};
  for (std::int64_t i = 0; i < size; i += kLanes) most = larger(most, load_some(x + i, size - i));
  return steps_of(highest(most));
}

// To whole vectors; what is behind `size` are zeros.
static void quantise_row(const float* x, std::int64_t size, float count, Quantised* out) {
  for (std::int64_t i = 0; i < size; i += kLanes)
    store_quantised(out + i, mul(load_some(x + i, size - i), fill(count)));
}

static std::size_t packed_bytes_int8(std::int64_t depth, std::int64_t columns) {
  const Int8Panel<Quantised> all{depth, blocks_of(columns, kLanes) * kLanes, nullptr};
  return static_cast<std::size_t>(blocks_of(all.bytes(), 64) * 64);
}

// column [depth], or null: zeros
static void pack_column(const float* column, const Int8Panel<Quantised>& panel, std::int64_t lane) {
  const Steps steps = column == nullptr ? Steps{} : steps_of_row(column, panel.depth);
  const auto rounded = [&](std::int64_t k) -> std::int32_t {
    if (steps.count == 0 || k >= panel.depth) return 0;
    return static_cast<std::int32_t>(__builtin_rintf(column[k] * steps.count));
  };
  for (std::int64_t slice = 0; slice < panel.slices(); ++slice) {
    const std::int64_t begin = slice * kSlice;
    const std::int64_t end = begin + blocks_of(least(kSlice, panel.depth - begin), 4) * 4;
    std::int32_t sum = 0;
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int32_t number = rounded(k);
      panel.weights[(k / 4 * panel.lanes + lane) * 4 + k % 4] = static_cast<Quantised>(number);
      sum += number;
    }
    sum *= kZero;
    __builtin_memcpy(panel.zeros(slice, lane), &sum, sizeof(sum));
  }
  __builtin_memcpy(panel.step(lane), &steps.size, sizeof(steps.size));
}

static void pack_int8(const float* weight, std::int64_t depth, std::int64_t columns, void* packed) {
  auto* at = static_cast<Quantised*>(packed);
  std::int64_t left = blocks_of(columns, kLanes);
  for (std::int64_t column = 0; left > 0;) {
    const std::int64_t vectors = panel_vectors<Int8Tiles>(left);
    const Int8Panel<Quantised> panel{depth, vectors * kLanes, at};
    for (std::int64_t lane = 0; lane < panel.lanes; ++lane, ++column)
      pack_column(column < columns ? weight + column * depth : nullptr, panel, lane);
    at += panel.bytes();
    left -= vectors;
  }
}

namespace {

// Some rows of A on their way through all panels.
class QuantisedRows {
 public:
  static std::int64_t most(std::int64_t depth) {
    return least(kMostRows, kBuffer / quantised_stride(depth) / kTileRows * kTileRows);
  }

  QuantisedRows(const Gemm& gemm, std::int64_t first, std::int64_t rows)
      : gemm_(gemm), first_(first), rows_(rows), stride_(quantised_stride(gemm.depth)) {
    for (std::int64_t r = 0; r < rows; ++r) steps_[r] = steps_of_row(row(r), gemm.depth);
    if (gemm.depth <= kSlice) quantise(0);
  }

  // A block's sums with one panel, by its columns, to C.
  void multiply(std::int64_t begin, std::int64_t rows, const Int8Panel<const Quantised>& panel,
                std::int64_t column, Ahead ahead) {
    constexpr std::int64_t kPanel = Int8Tiles::kVectors * kLanes;
    alignas(64) float sums[kTileRows * kPanel];
    alignas(64) float before[kTileRows * kPanel];  // of the slices before
    std::int64_t slice = 0;
    const auto value = [&](std::int64_t r, std::int64_t j) __attribute__((always_inline)) {
      const std::int64_t at = r * kPanel + j;
      const Vector x = to_float(load_bits(sums + at) - load_bits(panel.zeros(slice, j)));
      return slice == 0 ? x : add(load(before + at), x);
    };
    Int8Tiles tiles(gemm_.depth);
    for (;; ++slice) {
      if (gemm_.depth > kSlice) quantise(slice);
      tiles.multiply(buffer_ + begin * stride_, stride_, rows, panel.slice(slice),
                     panel.lanes / kLanes, least(kSlice, gemm_.depth - slice * kSlice), ahead, sums,
                     kPanel);
      if (slice + 1 >= panel.slices()) break;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < panel.lanes; j += kLanes)
          store(before + r * kPanel + j, value(r, j));
    }
    const std::int64_t columns = least(panel.lanes, gemm_.columns - column);
    with_activation(gemm_.activated, gemm_.activation, [&](auto activated) {
      for (std::int64_t r = 0; r < rows; ++r) {
        const Vector step = fill(steps_[begin + r].size);
        for (std::int64_t j = 0; j < columns; j += kLanes)
          finish_vector<float>(gemm_, mul(value(r, j), mul(step, (Vector)load_bits(panel.step(j)))),
                               first_ + begin + r, column + j, least(kLanes, columns - j),
                               activated);
      }
    });
  }

 private:
  const float* row(std::int64_t r) const {
    return static_cast<const float*>(gemm_.a) + (first_ + r) * gemm_.a_stride;
  }
  void quantise(std::int64_t slice) {
    const std::int64_t from = slice * kSlice;
    for (std::int64_t r = 0; r < rows_; ++r)
      quantise_row(row(r) + from, least(kSlice, gemm_.depth - from), steps_[r].count,
                   buffer_ + r * stride_);
  }

  const Gemm& gemm_;
  std::int64_t first_, rows_, stride_;
  Steps steps_[kMostRows];
  alignas(64) Quantised buffer_[kBuffer];  // one slice of the rows
};

}  // namespace

static void gemm_int8(const Gemm& gemm) {
  const std::int64_t last = gemm.last_column == 0 ? gemm.columns : gemm.last_column;
  const std::int64_t most = blocks_of(gemm.rows, QuantisedRows::most(gemm.depth));
  for (std::int64_t i = 0; i < most; ++i) {
    const std::int64_t first = gemm.rows * i / most;
    const std::int64_t rows = gemm.rows * (i + 1) / most - first;
    const std::int64_t block = blocks_of(rows, blocks_of(rows, kTileRows));
    QuantisedRows quantised(gemm, first, rows);
    const auto* at = static_cast<const Quantised*>(gemm.weights);
    std::int64_t left = blocks_of(gemm.columns, kLanes);
    for (std::int64_t column = 0; column < last;) {
      const std::int64_t vectors = panel_vectors<Int8Tiles>(left);
      const Int8Panel<const Quantised> panel{gemm.depth, vectors * kLanes, at};
      at += panel.bytes();
      if (column + panel.lanes > gemm.first_column) {
        // As gemm.h does it.
        const char* next = reinterpret_cast<const char*>(at);
        const char* const end = next + panel.bytes();
        Ahead ahead{next, gemm.weights_near ? 0
                                            : blocks_of(panel.bytes(), least(blocks_of(rows, block),
                                                                             kBlocksAhead))};
        for (std::int64_t row = 0; row < rows; row += block) {
          quantised.multiply(row, least(block, rows - row), panel, column, ahead);
          ahead.at += ahead.bytes;
          if (ahead.at >= end) ahead.bytes = 0;
        }
      }
      left -= vectors;
      column += panel.lanes;
    }
  }
}

static constexpr Kernels int8_table(std::string_view name, bool (*runs_here)()) {
  Kernels kernels = table<VectorTiles<float>>(name, Precision::kInt8, runs_here);
  kernels.emulated = Product<Quantised>::kEmulated;
  kernels.packed_bytes = packed_bytes_int8;
  kernels.panel_edge = panel_edge<Int8Tiles>;
  kernels.pack = pack_int8;
  kernels.gemm = gemm_int8;
  kernels.depthwise_scratch = nullptr;
  kernels.depthwise = nullptr;
  return kernels;
}

}  // namespace bifocal::nn::cpu
