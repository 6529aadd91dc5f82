// Real numbers to multiples of a step in a range: out[i] = round(clamp(x[i], bottom, top) / step) * step, half to even,
// where bottom is -top, or 0 without a sign. NaN stays NaN.
//
// Contract: x and out are contiguous float, count of them, and do not overlap; step and top are one float each, finite
// and positive; count >= 0; threads >= 1.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared ranged_quantize.cpp
//
// Why this version: as fake_quantize.cpp; the ends are real numbers that only the device knows.
#include "ranged_quantize.h"
#include "blocks.h"
#include "widest.h"

namespace {

struct Run {
    const float* x;
    float step, top;
    bool is_signed;
    float* out;
    std::int64_t count;
};

HWLUT_INLINE void any(const Run& run) {
    const float* __restrict x = run.x;
    float* __restrict out = run.out;
    const float step = run.step, top = run.top;
    const bool is_signed = run.is_signed;
    for (std::int64_t i = 0; i < run.count; ++i) out[i] = ranged_value(x[i], step, top, is_signed);
}

void plain(const Run& run) { any(run); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2(const Run& run) { any(run); }
__attribute__((target("avx512f,avx512dq"))) void avx512(const Run& run) { any(run); }
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

}  // namespace

extern "C" void hwlut_ranged_quantize(const float* x, const float* step, const float* top, int is_signed, float* out,
                                      std::int64_t count, int threads) {
    const auto run = widest(plain, avx2, avx512);
    in_blocks(count, threads, [=](std::int64_t start, std::int64_t size) {
        run({x + start, *step, *top, is_signed != 0, out + start, size});
    });
}
