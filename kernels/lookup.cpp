// Look-up: out[i] = table[clamp(codes[i], low, low + entries - 1) - low].
//
// Contract: codes, table and out are contiguous and do not overlap; codes are of `code_type`
// (integers.h), entries of `entry_bytes` (1, 2, 4, 8); entries >= 1; |low| <= 2^31; count >= 0; any
// alignment; threads >= 1. Every code is legal: the clamp keeps each read inside the table.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared lookup.cpp
//
// Why this version: one million 8-bit codes, one thread of an AMD EPYC (Zen 3, AVX2), in ms:
//   to 8 bits:  plain loop 0.43, packed words 0.34, eight a load 0.29, xor of shuffles 0.16, blend of shuffles 0.14
//   to 32 bits: plain loop 0.72, vpgatherdd 0.44, packed words 0.40, eight a load 0.36
// so 8 to 8 bits blends shuffles and every other width takes eight codes a load.
// look_up_vbmi has not run on a processor that has AVX-512 VBMI.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "blocks.h"
#include "integers.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

template <class Code, class Word>
struct Table {
    const Word* words;
    std::int64_t low, high;

    Word operator[](Code code) const {
        return words[std::clamp<std::int64_t>(code, low, high) - low];
    }
};

template <class Code, class Word>
void look_up(const Code* codes, Table<Code, Word> table, Word* out, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = table[codes[i]];
}

// The rest look up bytes in a table of 256 words, one for each bit pattern.

template <class Word>
void look_up_bytes(const std::uint8_t* codes, const Word* table, Word* out, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        std::uint64_t eight;
        std::memcpy(&eight, codes + i, 8);
        for (int j = 0; j < 8; ++j) out[i + j] = table[eight >> 8 * j & 255];
    }
    for (; i < count; ++i) out[i] = table[codes[i]];
}

#if defined(__x86_64__)

// The low nibble shuffles each of 16 rows of 16 entries; the high nibble's bits choose among the rows.
__attribute__((target("avx2"))) void look_up_avx2(
    const std::uint8_t* codes, const std::uint8_t* table, std::uint8_t* out, std::int64_t count) {
    __m256i rows[16];
    for (int r = 0; r < 16; ++r)
        rows[r] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * r)));
    const __m256i nibble = _mm256_set1_epi8(15);
    std::int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i code = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
        const __m256i column = _mm256_and_si256(code, nibble);
        __m256i chosen[16];
        for (int r = 0; r < 16; ++r) chosen[r] = _mm256_shuffle_epi8(rows[r], column);
        // A blend looks at each byte's top bit, to which the shift brings bits 4, 5, 6 and 7 in turn.
        for (int r = 0; r < 8; ++r)
            chosen[r] = _mm256_blendv_epi8(chosen[2 * r], chosen[2 * r + 1], _mm256_slli_epi16(code, 3));
        for (int r = 0; r < 4; ++r)
            chosen[r] = _mm256_blendv_epi8(chosen[2 * r], chosen[2 * r + 1], _mm256_slli_epi16(code, 2));
        for (int r = 0; r < 2; ++r)
            chosen[r] = _mm256_blendv_epi8(chosen[2 * r], chosen[2 * r + 1], _mm256_slli_epi16(code, 1));
        const __m256i result = _mm256_blendv_epi8(chosen[0], chosen[1], code);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), result);
    }
    look_up_bytes(codes + i, table, out + i, count - i);
}

// Two permutes by the low seven bits cover 128 entries each; the top bit chooses between them.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) void look_up_vbmi(
    const std::uint8_t* codes, const std::uint8_t* table, std::uint8_t* out, std::int64_t count) {
    __m512i rows[4];
    for (int r = 0; r < 4; ++r) rows[r] = _mm512_loadu_si512(table + 64 * r);
    std::int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const __m512i code = _mm512_loadu_si512(codes + i);
        const __m512i lower = _mm512_permutex2var_epi8(rows[0], code, rows[1]);
        const __m512i upper = _mm512_permutex2var_epi8(rows[2], code, rows[3]);
        _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), lower, upper));
    }
    look_up_bytes(codes + i, table, out + i, count - i);
}

#endif

template <class Word>
auto fastest_for_bytes() {
#if defined(__x86_64__)
    if constexpr (sizeof(Word) == 1) {
        if (__builtin_cpu_supports("avx512vbmi")) return look_up_vbmi;
        if (__builtin_cpu_supports("avx2")) return look_up_avx2;
    }
#endif
    return look_up_bytes<Word>;
}

}  // namespace

extern "C" void hwlut_lookup(const void* codes, int code_type, const void* table, int entry_bytes, std::int64_t entries,
                             std::int64_t low, void* out, std::int64_t count, int threads) {
    with_integer(code_type, [=](auto zero_code) {
        with_word(entry_bytes, [=](auto zero_word) {
            using Code = decltype(zero_code);
            using Word = decltype(zero_word);
            const Table<Code, Word> given{static_cast<const Word*>(table), low, low + entries - 1};
            const auto results = static_cast<Word*>(out);
            if constexpr (sizeof(Code) == 1) {
                Word bytes[256];
                for (int pattern = 0; pattern < 256; ++pattern) bytes[pattern] = given[static_cast<Code>(pattern)];
                const auto patterns = static_cast<const std::uint8_t*>(codes);
                const auto fastest = fastest_for_bytes<Word>();
                in_blocks(count, threads, [=, &bytes](std::int64_t start, std::int64_t size) {
                    fastest(patterns + start, bytes, results + start, size);
                });
            } else {
                const auto wide = static_cast<const Code*>(codes);
                in_blocks(count, threads, [=](std::int64_t start, std::int64_t size) {
                    look_up(wide + start, given, results + start, size);
                });
            }
        });
    });
}
