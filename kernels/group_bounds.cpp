// The least and the greatest finite value of each group, and zero between them: values that are not finite count as 0.
//
// Contract: x is contiguous float, count of them; element i belongs to group i / inner % groups. low and high are rows *
// groups floats, 0 before; a group's bounds are the least and the greatest over the rows; rows >= 1, and 1 only if each
// group lies in one piece or count is at most BLOCK; count >= 0; threads >= 1.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared group_bounds.cpp
//
// Why this version: one pass that only reads; 64 bounds side by side hide the time that each comparison takes.
#include "group_bounds.h"
#include "groups.h"
#include "widest.h"

namespace {

// The bounds of all into the first.
template <int HALF>
HWLUT_INLINE void fold(float* lows, float* highs) {
    for (int j = 0; j < HALF; ++j) lows[j] = std::min(lows[j], lows[HALF + j]);
    for (int j = 0; j < HALF; ++j) highs[j] = std::max(highs[j], highs[HALF + j]);
    if constexpr (HALF > 1) fold<HALF / 2>(lows, highs);
}

// Widens by as many whole vectors of LANES as there are, and returns how many values that were.
template <int LANES>
HWLUT_INLINE std::int64_t widen_by(const float* __restrict x, std::int64_t count, float* low, float* high) {
    if (count < LANES) return 0;
    float lows[LANES] = {}, highs[LANES] = {};
    std::int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; ++j) widen(finite(x[i + j]), lows[j], highs[j]);
    fold<LANES / 2>(lows, highs);
    *low = std::min(*low, lows[0]), *high = std::max(*high, highs[0]);
    return i;
}

HWLUT_INLINE void any(const float* __restrict x, float* __restrict low, float* __restrict high, std::int64_t count,
                      bool each) {
    std::int64_t i = 0;
    if (each) {
        for (; i < count; ++i) widen(finite(x[i]), low[i], high[i]);
        return;
    }
    i += widen_by<64>(x, count, low, high);
    i += widen_by<16>(x + i, count - i, low, high);
    for (; i < count; ++i) widen(finite(x[i]), *low, *high);
}

void plain(const float* x, float* low, float* high, std::int64_t count, bool each) { any(x, low, high, count, each); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2(
    const float* x, float* low, float* high, std::int64_t count, bool each) {
    any(x, low, high, count, each);
}
__attribute__((target("avx512f,avx512dq"))) void avx512(
    const float* x, float* low, float* high, std::int64_t count, bool each) {
    any(x, low, high, count, each);
}
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

}  // namespace

extern "C" void hwlut_group_bounds(const float* x, float* low, float* high, std::int64_t rows, std::int64_t groups,
                                   std::int64_t inner, std::int64_t count, int threads) {
    const Groups grouped{groups, inner, count};
    const auto run = widest(plain, avx2, avx512);
    grouped.reduced(rows, threads, [=](std::int64_t start, std::int64_t size, std::int64_t row) {
        grouped.stretches(start, size, [=](std::int64_t place, std::int64_t length, std::int64_t group) {
            run(x + place, low + row * groups + group, high + row * groups + group, length, grouped.each());
        });
    });
}
