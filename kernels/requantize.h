// One sum requantized: saturate(round(sum * multiplier * 2^-shift) + zero); on the processor and on GPUs.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define HWLUT_INLINE __device__ __forceinline__
#else
#define HWLUT_INLINE inline __attribute__((always_inline))
#endif

enum Rounding { HALF_UP, HALF_EVEN, FLOOR };

// What sums become. Two constants are here because compilers make no vectors of a constant that is shifted.
struct Codes {
    std::int64_t zero, low, high;
    std::uint64_t once, bias;  // 1, or 0 to round down; 2^63
};

inline Codes codes_of(std::int64_t zero, std::int64_t low, std::int64_t high, int rounding) {
    return {zero, low, high, rounding != FLOOR, std::uint64_t{1} << 63};
}

// Of a product p, of magnitude up to 2^62, the rounded one is (p + added) >> shift, where added is half of 2^shift, or
// of 2^shift - 1 for a half to go to the even number below it. The bias makes the shift one of a number that is not
// negative.
template <bool EVEN>
HWLUT_INLINE std::int64_t requantized(std::int32_t sum, std::int32_t multiplier, std::uint64_t shift, Codes codes) {
    const auto product = static_cast<std::uint64_t>(static_cast<std::int64_t>(sum) * multiplier);
    const std::uint64_t even = EVEN ? ~(product >> shift) & 1 : 0;
    const std::uint64_t added = ((codes.once << shift) - even) >> 1;
    const std::uint64_t rounded = ((product + added + codes.bias) >> shift) - (codes.bias >> shift);
    const std::int64_t result = static_cast<std::int64_t>(rounded) + codes.zero;
    return result < codes.low ? codes.low : result > codes.high ? codes.high : result;
}

// Numbers as the C interface names them: integers as in integers.h, reals by their bits.
template <class Run>
inline __attribute__((always_inline)) void with_number(int type, Run run) {
    switch (type) {
        case -1: return run(std::uint8_t{});
        case 1: return run(std::int8_t{});
        case 2: return run(std::int16_t{});
        case 4: return run(std::int32_t{});
        case 8: return run(std::int64_t{});
        case 32: return run(float{});
        case 64: return run(double{});
    }
}
