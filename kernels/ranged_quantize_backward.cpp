// Gradients of ranged_quantize.cpp: of x, grad[i] where x[i] lies in the range, else 0; of the step, summed,
// grad[i] * (code - clipped / step); of the top, summed, grad[i] above the range and -grad[i] below it, where it has a
// sign.
//
// Contract: as ranged_quantize.cpp, with grad and of_x like x; sums has two doubles, of step and of top, for each PIECE
// of elements and what is left of them, whose sums over the pieces are the gradients.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared ranged_quantize_backward.cpp
//
// Why this version: as fake_quantize_backward.cpp; pieces do not depend on the threads, so neither do results.
#include <algorithm>

#include "ranged_quantize.h"
#include "widest.h"

namespace {

constexpr int LANES = 16;

struct Run {
    const float *grad, *x;
    float step, top;
    bool is_signed;
    float* of_x;
    double* sums;
    std::int64_t count;
};

HWLUT_INLINE void any(const Run& run) {
    const float *__restrict grad = run.grad, *__restrict x = run.x;
    float* __restrict of_x = run.of_x;
    const float step = run.step, top = run.top;
    const bool is_signed = run.is_signed;
    double steps[LANES] = {}, tops[LANES] = {};
    std::int64_t i = 0;
    for (; i + LANES <= run.count; i += LANES) {
        float of_step[LANES], of_top[LANES];
        for (int j = 0; j < LANES; ++j)
            ranged_gradients(grad[i + j], x[i + j], step, top, is_signed, of_x[i + j], of_step[j], of_top[j]);
        for (int j = 0; j < LANES; ++j) steps[j] += of_step[j];
        for (int j = 0; j < LANES; ++j) tops[j] += of_top[j];
    }
    for (; i < run.count; ++i) {
        float of_step, of_top;
        ranged_gradients(grad[i], x[i], step, top, is_signed, of_x[i], of_step, of_top);
        steps[0] += of_step;
        tops[0] += of_top;
    }
    run.sums[0] = run.sums[1] = 0;
    for (int j = 0; j < LANES; ++j) {
        run.sums[0] += steps[j];
        run.sums[1] += tops[j];
    }
}

void plain(const Run& run) { any(run); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2(const Run& run) { any(run); }
__attribute__((target("avx512f,avx512dq"))) void avx512(const Run& run) { any(run); }
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

}  // namespace

extern "C" void hwlut_ranged_quantize_backward(const float* grad, const float* x, const float* step, const float* top,
                                               int is_signed, float* of_x, double* sums, std::int64_t count,
                                               int threads) {
    const auto run = widest(plain, avx2, avx512);
#pragma omp parallel for num_threads(threads) if (count > 4 * PIECE)
    for (std::int64_t start = 0; start < count; start += PIECE)
        run({grad + start, x + start, *step, *top, is_signed != 0, of_x + start, sums + start / PIECE * 2,
             std::min(PIECE, count - start)});
}
