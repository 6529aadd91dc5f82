// Tables of look-up products as the kernels read them. A table is int8 [codebooks][k][outputs]; packed, it is a head of
// 64 bytes, whose first is its Layout, and entries of codebooks, k and outputs rounded up to 4, 16 and 64:
//   PERMUTED, k <= 16: [outputs][groups of 4 codebooks][4 outputs][4 codebooks][16], outputs being counted in fours;
//   ROWS: [outputs / 64][codebooks][k][64], each entry 128 more, as a uint8: byte 2 i of a row is that of output i,
//   byte 2 i + 1 that of output 32 + i, so that the even and the odd bytes of 16-bit lanes are outputs side by side.
// What fills them up is of no output or of no codebook.
#pragma once
#include <algorithm>
#include <cstdint>

enum class Layout : std::uint8_t { PERMUTED = 1, ROWS = 2 };

constexpr std::int64_t HEAD = 64;   // bytes before the entries of a packed table
constexpr std::int64_t STRIP = 64;  // outputs of a row of Layout::ROWS

inline std::int64_t rounded_up(std::int64_t count, std::int64_t size) { return (count + size - 1) / size * size; }

// Sizes of a table, and the strides of its packed forms.
struct Table {
    std::int64_t codebooks, k, outputs;

    std::int64_t groups() const { return (codebooks + 3) / 4; }
    std::int64_t held_k() const { return std::max<std::int64_t>(k, 16); }
    std::int64_t strip_bytes() const { return 4 * groups() * held_k() * STRIP; }
};
