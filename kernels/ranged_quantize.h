// One real number in a learned range: clipped, rounded, differentiated; on the processor and on GPUs.
#pragma once
#include "fake_quantize.h"

constexpr std::int64_t PIECE = 8192;  // elements whose parts of gradients are one sum

HWLUT_INLINE float in_range(float x, float top, bool is_signed) { return clamped(x, is_signed ? -top : 0.0f, top); }

// Not a negative zero, which has no code.
HWLUT_INLINE float ranged_value(float x, float step, float top, bool is_signed) {
    return nearbyintf(in_range(x, top, is_signed) / step) * step + 0.0f;
}

// The gradient of x, and what it adds to those of the step and of the top.
HWLUT_INLINE void ranged_gradients(float grad, float x, float step, float top, bool is_signed, float& of_x,
                                   float& of_step, float& of_top) {
    const float clipped = in_range(x, top, is_signed), scaled = clipped / step;
    of_x = clipped == x ? grad : 0.0f;
    of_step = grad * (nearbyintf(scaled) - scaled);
    of_top = x > top ? grad : is_signed && x < -top ? -grad : 0.0f;
}
