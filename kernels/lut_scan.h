// Sums of table entries of look-up products, in both layouts of lut_layout.h.
#pragma once
#include <cstdint>

#include "lut_layout.h"
#include "lut_paths.h"
#include "lut_requantize.h"

// sums[0..WIDTH) += the ROWS entries of one row's indices, less 128 each: COUNT vectors of BYTES, all of a strip or of
// some. `table` is that of the first strip. A 16-bit lane holds two entries: `both` sums the lanes, `odd` their upper
// halves; modulo 2^16 the even one's sum is both - (odd << 8), of up to 256 codebooks.
template <int BYTES, int COUNT>
INLINE void add_rows(const std::uint8_t* table, const Table& t, const std::uint8_t* indices, std::int32_t* sums) {
    typedef std::uint16_t Lanes __attribute__((vector_size(BYTES)));
    constexpr int OF_STRIP = STRIP / BYTES, WIDTH = BYTES / 2;
    const std::uint8_t most = static_cast<std::uint8_t>(t.k - 1);
    for (std::int64_t first = 0; first < t.codebooks; first += 256) {
        Lanes both[COUNT] = {}, odd[COUNT] = {};
        const std::int64_t last = std::min<std::int64_t>(first + 256, t.codebooks);
        for (std::int64_t c = first; c < last; ++c) {
            const std::uint8_t* const row = table + (c * t.held_k() + (indices[c] & most)) * STRIP;
#pragma GCC unroll 4
            for (int i = 0; i < COUNT; ++i) {
                const std::int64_t place = i / OF_STRIP * t.strip_bytes() + i % OF_STRIP * BYTES;
                const Lanes entries = *reinterpret_cast<const Lanes*>(row + place);
                both[i] += entries;
                odd[i] += entries >> 8;
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < COUNT; ++i) {
            const Lanes held[2] = {both[i] - (odd[i] << 8), odd[i]};
            std::uint16_t entries[2][WIDTH];
            std::memcpy(entries, held, sizeof held);
            std::int32_t* const left = sums + i / OF_STRIP * STRIP + i % OF_STRIP * WIDTH;
            for (int lane = 0; lane < WIDTH; ++lane) left[lane] += entries[0][lane];
            for (int lane = 0; lane < WIDTH; ++lane) left[STRIP / 2 + lane] += entries[1][lane];
        }
    }
}

// What a block of rows needs: its outputs go to `out`, [rows][outputs]. starts: what each sum begins with, up to a
// multiple of STRIP.
template <class Out>
struct Sums {
    const Table& table;
    const std::uint8_t* packed;  // entries
    const std::int32_t* starts;
    const Requantizer& after;
    Out* out;
};

template <class Out>
INLINE void finish(const Sums<Out>& s, const std::int32_t* sums, std::int64_t n, std::int64_t first,
                   std::int64_t count) {
    s.after.row(sums, first, count, s.out + n * s.table.outputs + first);
}

#if defined(__x86_64__)
template <class Out>
AVX512 INLINE void finish_avx512(const Sums<Out>& s, const std::int32_t* sums, std::int64_t n, std::int64_t first,
                                 std::int64_t count) {
    for (std::int64_t m = 0; m < count; m += 16) {
        const auto mask = static_cast<__mmask16>(count - m < 16 ? (1 << (count - m)) - 1 : 0xffff);
        s.after.sixteen(_mm512_loadu_si512(sums + m), first + m, mask, s.out + n * s.table.outputs + first + m);
    }
}
#endif

constexpr std::int64_t AHEAD = 4;  // rows of outputs that are fetched before they are written
constexpr std::int64_t LINE = 64;  // bytes of a line of the cache

// Layout::ROWS, of indices [rows][codebooks]; strips outside, so that theirs of the table stays in the cache.
template <int BYTES, class Out, class Finish>
INLINE void scan_rows(const Sums<Out>& s, const std::uint8_t* indices, std::int64_t rows, Finish finish) {
    constexpr std::int64_t WIDE = std::max<std::int64_t>(4 * BYTES, STRIP);  // outputs of four vectors
    for (std::int64_t first = 0; first < s.table.outputs;) {
        const std::int64_t strips = std::min(WIDE, rounded_up(s.table.outputs - first, STRIP)) / STRIP;
        const std::int64_t width = strips * STRIP == WIDE ? WIDE : STRIP;
        const std::int64_t count = std::min(width, s.table.outputs - first);
        const std::uint8_t* const table = s.packed + first / STRIP * s.table.strip_bytes();
        for (std::int64_t n = 0; n < rows; ++n) {
            alignas(64) std::int32_t sums[WIDE];
            const Out* const ahead = s.out + (n + AHEAD) * s.table.outputs + first;
            for (std::int64_t m = 0; m < count; m += LINE / sizeof(Out)) __builtin_prefetch(ahead + m, 1);
            std::copy_n(s.starts + first, width, sums);
            if (width == WIDE) add_rows<BYTES, WIDE / BYTES>(table, s.table, indices + n * s.table.codebooks, sums);
            else add_rows<BYTES, STRIP / BYTES>(table, s.table, indices + n * s.table.codebooks, sums);
            finish(s, sums, n, first, count);
        }
        first += width;
    }
}

template <class Out>
void scan_rows_plain(const Sums<Out>& s, const std::uint8_t* indices, std::int64_t rows) {
    scan_rows<16>(s, indices, rows, finish<Out>);
}

#if defined(__x86_64__)
#include "lut_transpose.h"

template <class Out>
AVX2 void scan_rows_avx2(const Sums<Out>& s, const std::uint8_t* indices, std::int64_t rows) {
    scan_rows<32>(s, indices, rows, finish<Out>);
}

template <class Out>
AVX512 void scan_rows_avx512(const Sums<Out>& s, const std::uint8_t* indices, std::int64_t rows) {
    scan_rows<64>(s, indices, rows, finish_avx512<Out>);
}

constexpr std::uint32_t PERMUTED_PATTERN = 0x30201000;  // of a word of four indices: which 16 entries each looks up

// sums[m][n] of 16 outputs and 16 PARTS rows: a permute looks up four codebooks of 16 rows, a dot product with ones
// adds them.
template <int PARTS>
AVX512 INLINE void add_permuted(const std::uint8_t* table, std::int64_t groups, const std::uint32_t* words,
                                const std::int32_t* starts, std::int32_t (*sums)[64]) {
    const __m512i ones = _mm512_set1_epi8(1);
    for (int m = 0; m < 16; m += 4) {
        __m512i total[4][PARTS];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part) total[i][part] = _mm512_set1_epi32(starts[m + i]);
        for (std::int64_t group = 0; group < groups; ++group, table += 256) {
            __m512i found[PARTS];
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part)
                found[part] = _mm512_loadu_si512(words + 64 * group + 16 * part);
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                const __m512i entries = _mm512_loadu_si512(table + 64 * i);
#pragma GCC unroll 4
                for (int part = 0; part < PARTS; ++part)
                    total[i][part] = _mm512_dpbusd_epi32(total[i][part], ones,
                                                         _mm512_permutexvar_epi8(found[part], entries));
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part) _mm512_store_si512(sums[m + i] + 16 * part, total[i][part]);
    }
}

// Layout::PERMUTED, of words of indices [groups][64] of up to 64 rows, in PERMUTED_PATTERN.
template <class Out>
AVX512 void scan_permuted(const Sums<Out>& s, const std::uint32_t* words, std::int64_t rows) {
    const std::int64_t groups = s.table.groups();
    for (std::int64_t first = 0; first < s.table.outputs; first += 16) {
        const std::int64_t count = std::min<std::int64_t>(16, s.table.outputs - first);
        const auto mask = static_cast<__mmask16>((1 << count) - 1);
        const std::uint8_t* const table = s.packed + first * groups * 64;
        // Lines of the output lie too far apart to be fetched ahead otherwise: a fifth of the time.
        for (std::int64_t n = 0; n < rows; ++n) __builtin_prefetch(s.out + n * s.table.outputs + first, 1);
        alignas(64) std::int32_t sums[16][64];
        switch ((rows + 15) / 16) {
            case 1: add_permuted<1>(table, groups, words, s.starts + first, sums); break;
            case 2: add_permuted<2>(table, groups, words, s.starts + first, sums); break;
            case 3: add_permuted<3>(table, groups, words, s.starts + first, sums); break;
            default: add_permuted<4>(table, groups, words, s.starts + first, sums);
        }
        for (std::int64_t part = 0; part < rows; part += 16) {
            __m512i x[16];
            load_transposed(sums[0] + part, 64, x);
            Out* const out = s.out + part * s.table.outputs + first;
            if (rows - part >= 16) {
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i) s.after.sixteen(x[i], first, mask, out + i * s.table.outputs);
            } else {
                alignas(64) std::int32_t turned[16][16];
#pragma GCC unroll 16
                for (int i = 0; i < 16; ++i) _mm512_store_si512(turned[i], x[i]);
                for (std::int64_t i = 0; i < rows - part; ++i)
                    s.after.sixteen(_mm512_load_si512(turned[i]), first, mask, out + i * s.table.outputs);
            }
        }
    }
}

// Rows of indices to words [groups][64] and back; rows beyond `rows`, 1 to 64, are those of the last.
AVX512 inline void words_of_rows(const std::uint8_t* indices, std::int64_t rows, std::int64_t codebooks,
                                 std::uint8_t most, std::uint32_t* words) {
    const std::int64_t groups = (codebooks + 3) / 4;
    const __m512i held = _mm512_set1_epi8(static_cast<char>(most)), pattern = _mm512_set1_epi32(PERMUTED_PATTERN);
    for (std::int64_t part = 0; part < rows; part += 16)
        for (std::int64_t group = 0; group < groups; group += 16) {
            const std::int64_t left = codebooks - 4 * group;
            const __mmask64 inside = left >= 64 ? ~0ull : (1ull << left) - 1;
            __m512i x[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i)
                x[i] = _mm512_maskz_loadu_epi8(inside, indices + std::min(part + i, rows - 1) * codebooks + 4 * group);
            transpose_words(x);
            alignas(64) __m512i turned[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) turned[i] = _mm512_add_epi32(_mm512_and_si512(x[i], held), pattern);
            for (std::int64_t i = 0; i < std::min<std::int64_t>(16, groups - group); ++i)
                _mm512_storeu_si512(words + 64 * (group + i) + part, turned[i]);
        }
}

AVX512 inline void rows_of_words(const std::uint32_t* words, std::int64_t rows, std::int64_t codebooks,
                                 std::uint8_t* indices) {
    const std::int64_t groups = (codebooks + 3) / 4;
    for (std::int64_t part = 0; part < rows; part += 16)
        for (std::int64_t group = 0; group < groups; group += 16) {
            const std::int64_t left = codebooks - 4 * group;
            const __mmask64 inside = left >= 64 ? ~0ull : (1ull << left) - 1;
            __m512i x[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i)
                x[i] = _mm512_loadu_si512(words + 64 * std::min(group + i, groups - 1) + part);
            transpose_words(x);
            alignas(64) __m512i turned[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) turned[i] = x[i];
            for (std::int64_t i = 0; i < std::min<std::int64_t>(16, rows - part); ++i)
                _mm512_mask_storeu_epi8(indices + (part + i) * codebooks + 4 * group, inside, turned[i]);
        }
}

#endif
