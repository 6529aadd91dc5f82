// What follows the sums of look-up products: the bias is in them already; a Requantize, and the output's type.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lut_paths.h"

enum Rounding { HALF_UP, HALF_EVEN, FLOOR };

// saturate(round(sum * multiplier * 2^-shift) + zero) of outputs m, or the sums where there are no ratios. Of a product
// p, of less than 62 bits, the rounded one is (p + add + (p >> shift & odd)) >> shift.
class Requantizer {
  public:
    // ratios are [2][channels]: multipliers and shifts.
    Requantizer(const std::int64_t* ratios, std::int64_t channels, std::int64_t outputs, std::int64_t zero,
                std::int64_t low, std::int64_t high, int rounding)
        : zero(zero), low(low - zero), high(high - zero), used(ratios) {
        if (!used) return;
        const std::int64_t held = (outputs + 15) / 16 * 16;
        for (auto* numbers : {&multipliers, &shifts, &adds, &odds}) numbers->resize(held);
        for (std::int64_t m = 0; m < outputs; ++m) {
            const std::int64_t channel = channels == 1 ? 0 : m;
            multipliers[m] = ratios[channel], shifts[m] = ratios[channels + channel];
            const bool rounded = rounding != FLOOR && shifts[m] > 0;
            odds[m] = rounded && rounding == HALF_EVEN;
            adds[m] = rounded ? (1ll << (shifts[m] - 1)) - odds[m] : 0;
        }
    }

    template <class Out>
    INLINE void row(const std::int32_t* sums, std::int64_t first, std::int64_t count, Out* out) const {
        for (std::int64_t m = 0; m < count; ++m) {
            if (!used) {
                out[m] = static_cast<Out>(sums[m]);
                continue;
            }
            const std::int64_t i = first + m, product = sums[m] * multipliers[i];
            const std::int64_t scaled = (product + adds[i] + (product >> shifts[i] & odds[i])) >> shifts[i];
            out[m] = static_cast<Out>(std::clamp(scaled, low, high) + zero);
        }
    }

#if defined(__x86_64__)
    // The outputs of `mask` of 16 from `first` on, a multiple of 16.
    template <class Out>
    AVX512 INLINE void sixteen(__m512i sums, std::int64_t first, __mmask16 mask, Out* out) const {
        __m512i results = sums;
        if (used) {
            const __m512i left = eight(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(sums)), first);
            const __m512i right = eight(_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(sums, 1)), first + 8);
            if constexpr (sizeof(Out) == 8) {
                _mm512_mask_storeu_epi64(out, static_cast<__mmask8>(mask), left);
                return _mm512_mask_storeu_epi64(out + 8, static_cast<__mmask8>(mask >> 8), right);
            }
            results = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(left)),
                                         _mm512_cvtepi64_epi32(right), 1);
        }
        if constexpr (sizeof(Out) == 1) _mm512_mask_cvtepi32_storeu_epi8(out, mask, results);
        if constexpr (sizeof(Out) == 2) _mm512_mask_cvtepi32_storeu_epi16(out, mask, results);
        if constexpr (sizeof(Out) == 4) {
            if (mask == 0xffff) _mm512_storeu_si512(out, results);
            else _mm512_mask_storeu_epi32(out, mask, results);
        }
    }

  private:
    AVX512 INLINE __m512i eight(__m512i sums, std::int64_t first) const {
        const __m512i shift = _mm512_loadu_si512(&shifts[first]);
        const __m512i product = _mm512_mul_epi32(sums, _mm512_loadu_si512(&multipliers[first]));
        const __m512i odd = _mm512_and_si512(_mm512_srav_epi64(product, shift), _mm512_loadu_si512(&odds[first]));
        const __m512i rounded = _mm512_add_epi64(_mm512_add_epi64(product, _mm512_loadu_si512(&adds[first])), odd);
        const __m512i held = _mm512_min_epi64(
            _mm512_max_epi64(_mm512_srav_epi64(rounded, shift), _mm512_set1_epi64(low)), _mm512_set1_epi64(high));
        return _mm512_add_epi64(held, _mm512_set1_epi64(zero));
    }
#endif

  private:
    std::int64_t zero, low, high;
    bool used;
    std::vector<std::int64_t> multipliers, shifts, adds, odds;  // of each output, up to a multiple of 16
};
