// Matrix products by look-up: out[n][m] = after(bias[m] + sum over c of table[c][i][m]), i the index of sub-vector c of
// row n. Without `codes`, the indices are given; without `out`, they are what is wanted.
//
// Contract: codes are int8 [rows][features]; indices uint8 [rows][codebooks], each read modulo k, or null where codes
// and out are given; out is [rows][outputs] of `out_type` (integers.h), which is int32 where ratios is null. kind is
// TREE, with thresholds [codebooks][k - 1] as points and dimensions [codebooks][log2 k], each held to 0 to v - 1; or
// L2, L1 or CHEBYSHEV (1, 2, 3), with prototypes [codebooks][k][v]. codebooks = ceil(features / v), v up to 4096, k a
// power of two from 2 to 256. packed is what hwlut_lut_pack made of the table, which itself is not read here. bias is
// int32 [outputs], or null. ratios are null or int64 [2][channels], multipliers below 2^31 and shifts up to 62,
// channels 1 or outputs; zero, low, high and rounding are of the Requantize. All are contiguous and do not overlap;
// rows, threads >= 1. Sums are taken modulo 2^32.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared lut_matmul.cpp
//
// Why this version: one thread of a Sapphire Rapids core whose other thread was busy, ms, N 1024, D, M 512, tree with v
// 8, K 16: encoder 0.07, sums 0.38, where torch's float product takes 3.6; N 4096, squares with v 32: 0.36 and 0.92 of
// 27. Sums of all rows of a block for 16 outputs, then for the next 16, took twice the time: lines of the output lay
// too far apart. Storing past the cache helped 8 MB of outputs and hurt 2 MB. A distance is vertical, a lane a row:
// with lanes of prototypes, finding the least took as long as the products. One-hot rows on AMX tiles took 0.52 for the
// sums of the first. On AVX2, entries side by side need 3 instructions for 32 look-ups, a permute of bytes 4 and a
// transposition.
#include <cstdint>
#include <vector>

#include "integers.h"
#include "lut_encode.h"
#include "lut_layout.h"
#include "lut_paths.h"
#include "lut_requantize.h"
#include "lut_scan.h"

namespace {

constexpr std::int64_t BLOCK = 512;        // rows whose indices lie in the cache: a multiple of 64
constexpr std::int64_t CACHED = 1 << 20;  // bytes of a table that stays in the cache whole, so that rows may be few

struct Problem {
    Encoder encoder;
    Table table;
    Layout layout;
    Path path;
    const std::int8_t* codes;
    std::uint8_t* indices;
    std::int64_t rows;
    int threads;

    // `run` is called with the first row and the number of rows of each block.
    template <class Run>
    void in_blocks(Run run) const {
        const std::int64_t share = rounded_up((rows + threads - 1) / threads, 64);
        const std::int64_t block = table.codebooks * table.k * table.outputs > CACHED ? std::min(BLOCK, share) : 64;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (std::int64_t first = 0; first < rows; first += block) run(first, std::min(block, rows - first));
    }
};

#if defined(__x86_64__)
template <class Out>
void scan(const Sums<Out>& sums, Path path, const std::uint8_t* indices, std::int64_t rows) {
    if (path == Path::AVX512_VBMI) scan_rows_avx512(sums, indices, rows);
    else if (path == Path::AVX2_ONLY) scan_rows_avx2(sums, indices, rows);
    else scan_rows_plain(sums, indices, rows);
}

// Encoder and table both by lanes of rows.
template <class Out>
void by_words(const Problem& p, Sums<Out> sums, Out* out) {
    const auto run = [&](auto encode) {
        p.in_blocks([&](std::int64_t first, std::int64_t rows) {
            std::vector<Line> memory(4 * p.table.groups());
            const auto words = reinterpret_cast<std::uint32_t*>(memory.data());
            Sums<Out> part = sums;
            for (std::int64_t n = 0; n < rows; n += 64) {
                const std::int64_t count = std::min<std::int64_t>(64, rows - n);
                encode(first + n, count, words);
                part.out = out + (first + n) * p.table.outputs;
                scan_permuted(part, words, count);
            }
        });
    };
    if (!p.codes)
        return run([&](std::int64_t n, std::int64_t rows, std::uint32_t* words) {
            words_of_rows(p.indices + n * p.table.codebooks, rows, p.table.codebooks,
                          static_cast<std::uint8_t>(p.table.k - 1), words);
        });
    const LaneEncoder encoder(p.encoder);
    run([&](std::int64_t n, std::int64_t rows, std::uint32_t* words) {
        encoder(p.codes + n * p.encoder.features, rows, PERMUTED_PATTERN, words);
    });
}
#endif

// Calls `run` with a function that writes the indices of rows of codes.
template <class Run>
void with_encoder(const Problem& p, Run run) {
#if defined(__x86_64__)
    if (p.path == Path::AVX512_VBMI) {
        const LaneEncoder encoder(p.encoder);
        return run([&](std::int64_t first, std::int64_t count, std::uint8_t* indices) {
            std::vector<Line> memory(4 * p.table.groups());
            const auto words = reinterpret_cast<std::uint32_t*>(memory.data());
            for (std::int64_t n = 0; n < count; n += 64) {
                const std::int64_t rows = std::min<std::int64_t>(64, count - n);
                encoder(p.codes + (first + n) * p.encoder.features, rows, 0, words);
                rows_of_words(words, rows, p.table.codebooks, indices + n * p.table.codebooks);
            }
        });
    }
#endif
    const RowEncoder encoder(p.encoder, p.path);
    run([&](std::int64_t first, std::int64_t count, std::uint8_t* indices) {
        encoder(p.codes + first * p.encoder.features, count, indices);
    });
}

template <class Out>
void by_rows(const Problem& p, Sums<Out> sums, Out* out) {
    const auto add = [&](std::int64_t first, std::int64_t rows, const std::uint8_t* indices) {
        Sums<Out> part = sums;
        part.out = out + first * p.table.outputs;
#if defined(__x86_64__)
        scan(part, p.path, indices, rows);
#else
        scan_rows_plain(part, indices, rows);
#endif
    };
    if (!p.codes)
        return p.in_blocks([&](std::int64_t first, std::int64_t rows) {
            add(first, rows, p.indices + first * p.table.codebooks);
        });
    with_encoder(p, [&](auto encode) {
        p.in_blocks([&](std::int64_t first, std::int64_t rows) {
            std::vector<std::uint8_t> indices(rows * p.table.codebooks);
            encode(first, rows, indices.data());
            add(first, rows, indices.data());
        });
    });
}

}  // namespace

extern "C" void hwlut_lut_matmul(int kind, const std::int8_t* points, const std::int32_t* dimensions,
                                 std::int64_t features, std::int64_t v, int zero_point, std::int64_t codebooks,
                                 std::int64_t k, std::int64_t outputs, const std::int8_t*,
                                 const std::uint8_t* packed, const std::int32_t* bias, const std::int64_t* ratios,
                                 std::int64_t channels, std::int64_t zero, std::int64_t low, std::int64_t high,
                                 int rounding,
                                 const std::int8_t* codes, std::uint8_t* indices, void* out, int out_type,
                                 std::int64_t rows, int threads) {
    const Encoder encoder{kind, points, dimensions, features, v, codebooks, k, zero_point};
    const Layout layout = out ? static_cast<Layout>(packed[0]) : Layout::ROWS;
    if (rows * (out ? outputs : 64) * codebooks < 1 << 18) threads = 1;
    const Problem p{encoder, {codebooks, k, outputs}, layout, widest_path(), codes, indices, rows, threads};
    if (!out)
        return with_encoder(p, [&](auto encode) {
            p.in_blocks([&](std::int64_t first, std::int64_t count) {
                encode(first, count, indices + first * codebooks);
            });
        });
    const std::uint32_t least = layout == Layout::ROWS ? 128 * static_cast<std::uint32_t>(codebooks) : 0;
    std::vector<std::int32_t> starts(rounded_up(outputs, STRIP), static_cast<std::int32_t>(-least));
    for (std::int64_t m = 0; bias && m < outputs; ++m)
        starts[m] = static_cast<std::int32_t>(static_cast<std::uint32_t>(bias[m]) - least);
    const Requantizer after(ratios, channels, outputs, zero, low, high, rounding);
    with_integer(out_type, [&](auto zero_code) {
        using Out = decltype(zero_code);
        const Sums<Out> sums{p.table, packed + HEAD, starts.data(), after, nullptr};
#if defined(__x86_64__)
        if (layout == Layout::PERMUTED) return by_words(p, sums, static_cast<Out*>(out));
#endif
        by_rows(p, sums, static_cast<Out*>(out));
    });
}
