// Real numbers to codes of up to 8 bits: out[i] = round_half_even(clamp(x[i] / step, low - zero, high - zero)) + zero;
// NaN gets the code of zero.
//
// Contract: x is contiguous float, step one float, finite and positive; zero is one int32 or null for 0, low to high,
// which lie within -128 to 127; out is int8, and overlaps nothing; count >= 0; threads >= 1.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared quantize_codes.cpp
//
// Why this version: a division, so that codes are those of torch; 16 of them at once leave the pass to the memory.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "blocks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

struct Format {
    float step, low, high;  // ends counted from zero
    std::int32_t zero;
};

void quantize(const float* x, Format format, std::int8_t* out, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        const float scaled = x[i] / format.step;
        const float held = std::isnan(scaled) ? 0.0f : std::clamp(scaled, format.low, format.high);
        out[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(std::nearbyint(held)) + format.zero);
    }
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) void quantize_avx2(const float* x, Format format, std::int8_t* out,
                                                   std::int64_t count) {
    const __m256 step = _mm256_set1_ps(format.step), low = _mm256_set1_ps(format.low);
    const __m256 high = _mm256_set1_ps(format.high);
    const __m256i zero = _mm256_set1_epi32(format.zero);
    std::int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i codes[2];
        for (int j = 0; j < 2; ++j) {
            const __m256 scaled = _mm256_div_ps(_mm256_loadu_ps(x + i + 8 * j), step);
            const __m256 number = _mm256_and_ps(scaled, _mm256_cmp_ps(scaled, scaled, _CMP_ORD_Q));  // NaN is 0
            const __m256 held = _mm256_min_ps(_mm256_max_ps(number, low), high);
            codes[j] = _mm256_add_epi32(_mm256_cvtps_epi32(held), zero);
        }
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(codes[0], codes[1]), 0xd8);
        const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), bytes);
    }
    quantize(x + i, format, out + i, count - i);
}

__attribute__((target("avx512f"))) void quantize_avx512(const float* x, Format format, std::int8_t* out,
                                                        std::int64_t count) {
    const __m512 step = _mm512_set1_ps(format.step), low = _mm512_set1_ps(format.low);
    const __m512 high = _mm512_set1_ps(format.high);
    const __m512i zero = _mm512_set1_epi32(format.zero);
    for (std::int64_t i = 0; i < count; i += 16) {
        const auto inside = static_cast<__mmask16>(count - i < 16 ? (1 << (count - i)) - 1 : 0xffff);
        const __m512 scaled = _mm512_div_ps(_mm512_maskz_loadu_ps(inside, x + i), step);
        const __mmask16 number = _mm512_cmp_ps_mask(scaled, scaled, _CMP_ORD_Q);
        const __m512 held = _mm512_min_ps(_mm512_max_ps(_mm512_maskz_mov_ps(number, scaled), low), high);
        _mm512_mask_cvtepi32_storeu_epi8(out + i, inside, _mm512_add_epi32(_mm512_cvtps_epi32(held), zero));
    }
}

#endif

auto fastest() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return quantize_avx512;
    if (__builtin_cpu_supports("avx2")) return quantize_avx2;
#endif
    return quantize;
}

}  // namespace

extern "C" void hwlut_quantize_codes(const float* x, const float* step, const std::int32_t* zero_point, int low,
                                     int high, std::int8_t* out, std::int64_t count, int threads) {
    const std::int32_t zero = zero_point ? *zero_point : 0;
    const Format format{*step, static_cast<float>(low - zero), static_cast<float>(high - zero), zero};
    in_blocks(count, threads, [=](std::int64_t start, std::int64_t size) {
        fastest()(x + start, format, out + start, size);
    });
}
