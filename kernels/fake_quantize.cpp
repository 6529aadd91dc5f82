// Real numbers to values of codes: out[i] = round(clamp(x[i] / step, low - zero, high - zero)) * step, half to even, with
// the step and the zero of the group of i, and to few significant bits where those are bounded. NaN stays NaN.
//
// Contract: x and out are contiguous float, count of them, and do not overlap; element i belongs to group
// i / inner % groups. step has a float for each group, finite and positive; zero_point an int32, from low to high, or it
// is null for 0. low <= high are integers, exact in float; significant is 0 for any, or the most bits of a code;
// count >= 0; threads >= 1.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared fake_quantize.cpp
//
// Why this version: the loop is written once and the compiler makes vectors of it for each instruction set; a division,
// so that values are those of torch.
#include "fake_quantize.h"
#include "groups.h"
#include "widest.h"

namespace {

struct Run {
    const float* x;
    const float* step;         // one, or EACH its own
    const std::int32_t* zero;  // as step, or null
    Ends ends;
    float* out;
    std::int64_t count;
};

template <bool EACH, bool FEW>
HWLUT_INLINE void quantize(const Run& run) {
    const float* __restrict x = run.x;
    const float* __restrict step = run.step;
    float* __restrict out = run.out;
    const float first_zero = run.zero && !EACH ? *run.zero : 0;
    const auto loop = [=](auto zero) __attribute__((always_inline)) {
        for (std::int64_t i = 0; i < run.count; ++i) {
            out[i] = value<FEW>(x[i], step[EACH ? i : 0], zero(i), run.ends);
        }
    };
    if (EACH && run.zero) {
        const std::int32_t* __restrict zeros = run.zero;
        loop([=](std::int64_t i) { return static_cast<float>(zeros[i]); });
    } else {
        loop([=](std::int64_t) { return first_zero; });
    }
}

HWLUT_INLINE void any(const Run& run, bool each) {
    if (each)
        run.ends.significant ? quantize<true, true>(run) : quantize<true, false>(run);
    else
        run.ends.significant ? quantize<false, true>(run) : quantize<false, false>(run);
}

void plain(const Run& run, bool each) { any(run, each); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2(const Run& run, bool each) { any(run, each); }
__attribute__((target("avx512f,avx512dq"))) void avx512(const Run& run, bool each) { any(run, each); }
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

}  // namespace

extern "C" void hwlut_fake_quantize(const float* x, const float* step, const std::int32_t* zero_point, float low,
                                    float high, int significant, float* out, std::int64_t groups, std::int64_t inner,
                                    std::int64_t count, int threads) {
    const Groups grouped{groups, inner, count};
    const auto run = widest(plain, avx2, avx512);
    in_blocks(count, threads, [=](std::int64_t start, std::int64_t size) {
        grouped.stretches(start, size, [=](std::int64_t place, std::int64_t length, std::int64_t group) {
            const std::int32_t* zero = zero_point ? zero_point + group : nullptr;
            run({x + place, step + group, zero, {low, high, significant}, out + place, length}, grouped.each());
        });
    });
}
