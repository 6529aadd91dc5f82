// Which of three versions of a function runs.
#pragma once
#include <cstdlib>
#include <cstring>

// The widest that the processor has and the environment variable HWLUT_CPU, "plain" or "avx2", leaves; avx512 is made of
// avx512f and avx512dq.
template <class Function>
Function widest(Function plain, Function avx2, Function avx512) {
#if defined(__x86_64__)
    const char* const most = std::getenv("HWLUT_CPU");
    const bool no_vectors = most && !std::strcmp(most, "plain"), narrow = most && !std::strcmp(most, "avx2");
    if (!no_vectors && !narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return avx512;
    if (!no_vectors && __builtin_cpu_supports("avx2")) return avx2;
#endif
    return plain;
}
