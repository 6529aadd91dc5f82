// Gradients of fake_quantize.cpp: of x, grad[i] where x[i] rounds to a code without being saturated, else 0; and of each
// step, summed: grad[i] * (code - x[i] / step) in the range, grad[i] * code outside it, codes counted from zero. For the
// step, with a margin, the range ends half a step beyond the end codes, else at them.
//
// Contract: as fake_quantize.cpp, with grad and of_x like x; of_step is null, or rows * groups doubles, 0 before, whose
// sums over the rows are the gradients; rows >= 1, and 1 only if each group lies in one piece or count is at most BLOCK.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared fake_quantize_backward.cpp
//
// Why this version: everything is computed again from x, which costs less than a mask that is written and read. Products
// are float as in torch, their sums double; chunks do not depend on the threads, so neither do results.
#include "fake_quantize.h"
#include "groups.h"
#include "widest.h"

namespace {

constexpr int LANES = 16;

struct Run {
    const float *grad, *x;
    const float* step;         // one, or EACH its own
    const std::int32_t* zero;  // as step, or null
    Ends ends;
    bool margin;
    float* of_x;
    double* of_step;  // one, or EACH its own, or null
    std::int64_t count;
};

template <bool FEW, bool EACH, bool SUM>
HWLUT_INLINE void differentiate(const Run& run) {
    const float *__restrict grad = run.grad, *__restrict x = run.x, *__restrict step = run.step;
    float* __restrict of_x = run.of_x;
    const Ends ends = run.ends;
    const bool margin = run.margin;
    if (EACH) {
        for (std::int64_t i = 0; i < run.count; ++i) {
            const float zero = run.zero ? static_cast<float>(run.zero[i]) : 0.0f;
            const float part = gradients<FEW>(grad[i], x[i], step[i], zero, ends, margin, of_x[i]);
            if (SUM) run.of_step[i] += part;
        }
        return;
    }
    const float size = *step, zero = run.zero ? static_cast<float>(*run.zero) : 0.0f;
    double sums[LANES] = {};
    std::int64_t i = 0;
    for (; i + LANES <= run.count; i += LANES) {
        float parts[LANES];
        for (int j = 0; j < LANES; ++j)
            parts[j] = gradients<FEW>(grad[i + j], x[i + j], size, zero, ends, margin, of_x[i + j]);
        if (SUM)
            for (int j = 0; j < LANES; ++j) sums[j] += parts[j];
    }
    for (; i < run.count; ++i) sums[0] += gradients<FEW>(grad[i], x[i], size, zero, ends, margin, of_x[i]);
    if (SUM)
        for (const double sum : sums) *run.of_step += sum;
}

template <bool FEW>
HWLUT_INLINE void any_sum(const Run& run, bool each) {
    if (run.of_step)
        each ? differentiate<FEW, true, true>(run) : differentiate<FEW, false, true>(run);
    else
        each ? differentiate<FEW, true, false>(run) : differentiate<FEW, false, false>(run);
}

HWLUT_INLINE void any(const Run& run, bool each) {
    run.ends.significant ? any_sum<true>(run, each) : any_sum<false>(run, each);
}

void plain(const Run& run, bool each) { any(run, each); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) void avx2(const Run& run, bool each) { any(run, each); }
__attribute__((target("avx512f,avx512dq"))) void avx512(const Run& run, bool each) { any(run, each); }
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

}  // namespace

extern "C" void hwlut_fake_quantize_backward(const float* grad, const float* x, const float* step,
                                             const std::int32_t* zero_point, float low, float high, int significant,
                                             int margin, float* of_x, double* of_step, std::int64_t rows,
                                             std::int64_t groups, std::int64_t inner, std::int64_t count,
                                             int threads) {
    const Groups grouped{groups, inner, count};
    const auto run = widest(plain, avx2, avx512);
    grouped.reduced(rows, threads, [=](std::int64_t start, std::int64_t size, std::int64_t row) {
        grouped.stretches(start, size, [=](std::int64_t place, std::int64_t length, std::int64_t group) {
            const std::int32_t* zero = zero_point ? zero_point + group : nullptr;
            double* sum = of_step ? of_step + row * groups + group : nullptr;
            run({grad + place, x + place, step + group, zero, {low, high, significant}, margin != 0, of_x + place, sum,
                 length},
                grouped.each());
        });
    });
}
