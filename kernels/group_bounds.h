// The range of real numbers; on the processor and on GPUs.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define HWLUT_INLINE __device__ __forceinline__
#else
#define HWLUT_INLINE inline __attribute__((always_inline))
#endif

HWLUT_INLINE float finite(float real) {
    std::int32_t bits;
    std::memcpy(&bits, &real, 4);
    bits = (bits & 0x7f800000) == 0x7f800000 ? 0 : bits;
    std::memcpy(&real, &bits, 4);
    return real;
}

HWLUT_INLINE void widen(float real, float& low, float& high) {
    low = real < low ? real : low;
    high = real > high ? real : high;
}
