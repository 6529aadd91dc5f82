// A table of look-up products as the other kernels read it: see lut_layout.h.
//
// Contract: table is int8 [codebooks][k][outputs], k a power of two from 2 to 256; packed has 64 bytes and those of the
// sizes rounded up to 4, 16 and 64; both are contiguous and do not overlap; threads >= 1. The layout is the one that
// the kernels are fastest with on this processor.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared lut_pack.cpp
//
// Why this version: a training step packs its table anew. PERMUTED is a transposition of bytes, here of 64 x 64 in
// registers.
#include "lut_layout.h"
#include "lut_paths.h"
#include "lut_transpose.h"

namespace {

// to[2 i], to[2 i + 1] = row[i] + 128, row[32 + i] + 128.
void interleave(const std::int8_t* __restrict row, std::uint8_t* __restrict to) {
    for (int i = 0; i < STRIP / 2; ++i) {
        to[2 * i] = static_cast<std::uint8_t>(row[i] ^ 0x80);
        to[2 * i + 1] = static_cast<std::uint8_t>(row[STRIP / 2 + i] ^ 0x80);
    }
}

void pack_rows(const std::int8_t* table, const Table& t, std::uint8_t* packed, int threads) {
    const std::int64_t strips = (t.outputs + STRIP - 1) / STRIP;
#pragma omp parallel for num_threads(threads) collapse(2)
    for (std::int64_t c = 0; c < 4 * t.groups(); ++c)
        for (std::int64_t k = 0; k < t.held_k(); ++k)
            for (std::int64_t strip = 0; strip < strips; ++strip) {
                const std::int64_t width = c < t.codebooks && k < t.k ? std::min(STRIP, t.outputs - strip * STRIP) : 0;
                const std::int8_t* const from = table + (c * t.k + k) * t.outputs + strip * STRIP;
                std::uint8_t* const to = packed + strip * t.strip_bytes() + (c * t.held_k() + k) * STRIP;
                if (width == STRIP) {
                    interleave(from, to);
                    continue;
                }
                std::int8_t row[STRIP] = {};
                std::copy_n(from, width, row);
                interleave(row, to);
            }
}

#if defined(__x86_64__)

// The entries of a group of codebooks for 64 outputs: bytes [4 codebooks][16][64 outputs], transposed.
AVX512 void pack_group(const std::int8_t* table, const Table& t, std::int64_t group, std::int64_t strip,
                       std::uint8_t* packed) {
    const std::int64_t width = std::min(STRIP, t.outputs - strip * STRIP);
    const __mmask64 inside = ~0ull >> (64 - width);
    __m512i words[4][16];
    for (int j = 0; j < 4; ++j) {
        const std::int64_t c = 4 * group + j;
        for (int k = 0; k < 16; ++k)
            words[j][k] = c < t.codebooks && k < t.k
                              ? _mm512_maskz_loadu_epi8(inside, table + (c * t.k + k) * t.outputs + strip * STRIP)
                              : _mm512_setzero_si512();
        transpose_words(words[j]);
    }
    for (int w = 0; w < 16; ++w) {
        __m512i columns[4] = {words[0][w], words[1][w], words[2][w], words[3][w]};
        split_words(columns);
        for (int b = 0; b < 4; ++b)
            _mm512_storeu_si512(packed + ((strip * 16 + w) * t.groups() + group) * 256 + b * 64, columns[b]);
    }
}

void pack_permuted(const std::int8_t* table, const Table& t, std::uint8_t* packed, int threads) {
    const std::int64_t strips = (t.outputs + STRIP - 1) / STRIP;
#pragma omp parallel for num_threads(threads) collapse(2)
    for (std::int64_t strip = 0; strip < strips; ++strip)
        for (std::int64_t group = 0; group < t.groups(); ++group) pack_group(table, t, group, strip, packed);
}

#endif

}  // namespace

extern "C" void hwlut_lut_pack(const std::int8_t* table, std::int64_t codebooks, std::int64_t k, std::int64_t outputs,
                               std::uint8_t* packed, int threads) {
    const Table t{codebooks, k, outputs};
    if (codebooks * k * outputs < 1 << 18) threads = 1;
    Layout layout = Layout::ROWS;
#if defined(__x86_64__)
    if (k <= 16 && widest_path() == Path::AVX512_VBMI) layout = Layout::PERMUTED;
    if (layout == Layout::PERMUTED) pack_permuted(table, t, packed + HEAD, threads);
#endif
    std::fill_n(packed, HEAD, 0);
    packed[0] = static_cast<std::uint8_t>(layout);
    if (layout == Layout::ROWS) pack_rows(table, t, packed + HEAD, threads);
}
