// Transpositions in AVX-512 registers.
#pragma once
#include <cstdint>

#include "lut_paths.h"

#if defined(__x86_64__)

// Of 16 x 16 words: word j of x[i] becomes word i of x[j].
AVX512 INLINE void transpose_words(__m512i (&x)[16]) {
    __m512i y[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {  // 4 x 4 words of each quarter
        const __m512i a = _mm512_unpacklo_epi32(x[i], x[i + 1]), b = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]), d = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
        y[i] = _mm512_unpacklo_epi64(a, c), y[i + 1] = _mm512_unpackhi_epi64(a, c);
        y[i + 2] = _mm512_unpacklo_epi64(b, d), y[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {  // 4 x 4 quarters
        const __m512i a = _mm512_shuffle_i32x4(y[j], y[4 + j], 0x44), b = _mm512_shuffle_i32x4(y[j], y[4 + j], 0xee);
        const __m512i c = _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0x44);
        const __m512i d = _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0xee);
        x[j] = _mm512_shuffle_i32x4(a, c, 0x88), x[4 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        x[8 + j] = _mm512_shuffle_i32x4(b, d, 0x88), x[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
}

// x[j] = words j of 16 rows that are `stride` words apart, in order: quarters are put together as they are loaded,
// which leaves the port of the permutes half of the work.
AVX512 INLINE void load_transposed(const std::int32_t* rows, std::int64_t stride, __m512i (&x)[16]) {
#pragma GCC unroll 4
    for (int j = 0; j < 16; j += 4) {
        __m512i y[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            const auto quarter = [=](int row) {
                return reinterpret_cast<const __m128i*>(rows + (row + i) * stride + j);
            };
            y[i] = _mm512_castsi128_si512(_mm_load_si128(quarter(0)));
            y[i] = _mm512_inserti32x4(y[i], _mm_load_si128(quarter(4)), 1);
            y[i] = _mm512_inserti32x4(y[i], _mm_load_si128(quarter(8)), 2);
            y[i] = _mm512_inserti32x4(y[i], _mm_load_si128(quarter(12)), 3);
        }
        const __m512i a = _mm512_unpacklo_epi32(y[0], y[1]), b = _mm512_unpackhi_epi32(y[0], y[1]);
        const __m512i c = _mm512_unpacklo_epi32(y[2], y[3]), d = _mm512_unpackhi_epi32(y[2], y[3]);
        x[j] = _mm512_unpacklo_epi64(a, c), x[j + 1] = _mm512_unpackhi_epi64(a, c);
        x[j + 2] = _mm512_unpacklo_epi64(b, d), x[j + 3] = _mm512_unpackhi_epi64(b, d);
    }
}

// Each word in its quarter: byte b of word i becomes byte i of word b.
AVX512 INLINE __m512i turned_quarters(__m512i x) {
    return _mm512_shuffle_epi8(
        x, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

// Bytes b of the words of x[0] to x[3], in their order, become x[b].
AVX512 INLINE void split_words(__m512i (&x)[4]) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i y[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) y[i] = _mm512_permutexvar_epi32(order, turned_quarters(x[i]));
    const __m512i a = _mm512_shuffle_i32x4(y[0], y[1], 0x44), b = _mm512_shuffle_i32x4(y[0], y[1], 0xee);
    const __m512i c = _mm512_shuffle_i32x4(y[2], y[3], 0x44), d = _mm512_shuffle_i32x4(y[2], y[3], 0xee);
    x[0] = _mm512_shuffle_i32x4(a, c, 0x88), x[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    x[2] = _mm512_shuffle_i32x4(b, d, 0x88), x[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

// As `split_words`, but byte 16 l + 4 q + e of each is that of word 4 l + e of x[q], l, q and e from 0 to 3: the order
// that `join_bytes` undoes.
AVX512 INLINE void split_words_mixed(__m512i (&x)[4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) x[i] = turned_quarters(x[i]);
    const __m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
    const __m512i c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);
    x[0] = _mm512_unpacklo_epi64(a, c), x[1] = _mm512_unpackhi_epi64(a, c);
    x[2] = _mm512_unpacklo_epi64(b, d), x[3] = _mm512_unpackhi_epi64(b, d);
}

// The reverse: bytes of x[0] to x[3], in that order, become the words of x[0] to x[3] in theirs.
AVX512 INLINE void join_bytes(__m512i (&x)[4]) {
    const __m512i a = _mm512_unpacklo_epi8(x[0], x[1]), b = _mm512_unpackhi_epi8(x[0], x[1]);
    const __m512i c = _mm512_unpacklo_epi8(x[2], x[3]), d = _mm512_unpackhi_epi8(x[2], x[3]);
    x[0] = _mm512_unpacklo_epi16(a, c), x[1] = _mm512_unpackhi_epi16(a, c);
    x[2] = _mm512_unpacklo_epi16(b, d), x[3] = _mm512_unpackhi_epi16(b, d);
}

#endif
