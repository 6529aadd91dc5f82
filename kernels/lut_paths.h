// Which instructions the kernels of look-up products use.
#pragma once
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni")))
#endif
#define INLINE inline __attribute__((always_inline))

// What vectors of 64 bytes are held in.
struct alignas(64) Line { unsigned char bytes[64]; };

enum class Path { PLAIN, AVX2_ONLY, AVX512_VBMI };

// The widest that the processor has and the environment variable HWLUT_CPU, "plain" or "avx2", leaves.
inline Path widest_path() {
#if defined(__x86_64__)
    const char* const most = std::getenv("HWLUT_CPU");
    const bool plain = most && !std::strcmp(most, "plain"), avx2 = most && !std::strcmp(most, "avx2");
    const bool vectors = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                         __builtin_cpu_supports("avx512vl");
    if (vectors && !plain && !avx2) return Path::AVX512_VBMI;
    if (__builtin_cpu_supports("avx2") && !plain) return Path::AVX2_ONLY;
#endif
    return Path::PLAIN;
}
