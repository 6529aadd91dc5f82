// One real number in steps: saturated, rounded, differentiated; on the processor and on GPUs.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define HWLUT_INLINE __device__ __forceinline__
#else
#define HWLUT_INLINE inline __attribute__((always_inline))
#endif

struct Ends {
    float low, high;  // codes
    int significant;  // bits of a code; 0: any
};

HWLUT_INLINE float clamped(float real, float low, float high) { return real < low ? low : real > high ? high : real; }

// An integer of at most `significant` bits, half to even; FEW tells whether that is a bound.
template <bool FEW>
HWLUT_INLINE float rounded(float real, int significant) {
    if (!FEW) return nearbyintf(real);
    std::int32_t bits;
    std::memcpy(&bits, &real, 4);
    std::int32_t quantum = (bits & 0x7f800000) - ((significant - 1) << 23);  // of its binade: a power of two
    quantum = quantum > 127 << 23 ? quantum : 127 << 23;
    const std::int32_t inverse = (254 << 23) - quantum;
    float multiple, part;
    std::memcpy(&multiple, &quantum, 4);
    std::memcpy(&part, &inverse, 4);
    return nearbyintf(real * part) * multiple;
}

// The value of the code of x, which has no negative zero.
template <bool FEW>
HWLUT_INLINE float value(float x, float step, float zero, const Ends& ends) {
    return rounded<FEW>(clamped(x / step, ends.low - zero, ends.high - zero), ends.significant) * step + 0.0f;
}

// The gradient of x, and what it adds to that of the step.
template <bool FEW>
HWLUT_INLINE float gradients(float grad, float x, float step, float zero, const Ends& ends, bool margin, float& of_x) {
    const float scaled = x / step, clipped = clamped(scaled, ends.low - zero, ends.high - zero);
    const float code = rounded<FEW>(clipped, ends.significant);
    const bool reached = rounded<FEW>(scaled, ends.significant) == code;
    of_x = reached ? grad : 0.0f;
    const bool inside = margin ? reached : scaled == clipped;
    return grad * (inside ? code - scaled : code);
}
