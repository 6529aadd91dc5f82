// Integer sums to codes, on a GPU.
//
// Contract: as requantize.cpp, with acc, multipliers, shifts, constant and out in the memory of `device`, and the
// launch on `stream` of that device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 requantize.cu
//
// Why this version: one coalesced pass; places are divided as 32-bit numbers where they fit, since the arithmetic of a
// 64-bit division would outlast the memory. Not yet run on a device.
#include "requantize.h"

#include "groups_on_gpu.h"

namespace {

__device__ inline std::int64_t group_of(std::int64_t i, std::int64_t inner, std::int64_t groups, std::int64_t count) {
    if (count > UINT32_MAX) return i / inner % groups;
    return static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(inner) % static_cast<std::uint32_t>(groups);
}

template <class Acc, class Out>
__global__ void requantize(const Acc* acc, const std::int32_t* multipliers, const std::int32_t* shifts,
                           const std::int32_t* constant, bool even, Codes codes, Out* out,
                           std::int64_t groups, std::int64_t inner, std::int64_t count) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) {
        const std::int64_t group = groups == 1 ? 0 : group_of(i, inner, groups, count);
        const std::uint32_t added = constant ? static_cast<std::uint32_t>(constant[group]) : 0;
        const auto given = static_cast<std::uint32_t>(static_cast<std::int32_t>(acc[i]));
        const auto sum = static_cast<std::int32_t>(given + added);
        const std::int32_t multiplier = multipliers[group], shift = shifts[group];
        out[i] = static_cast<Out>(even ? requantized<true>(sum, multiplier, shift, codes)
                                       : requantized<false>(sum, multiplier, shift, codes));
    }
}

}  // namespace

extern "C" const char* hwlut_requantize(const void* acc, int acc_type, const std::int32_t* multipliers,
                                        const std::int32_t* shifts, const std::int32_t* constant, std::int64_t zero,
                                        std::int64_t low, std::int64_t high, int rounding, void* out, int out_type,
                                        std::int64_t groups, std::int64_t inner, std::int64_t count, int device,
                                        void* stream) {
    int blocks = 0;
    cudaError_t error = blocks_for(count, device, &blocks);
    if (error == cudaSuccess && count > 0) {
        const Codes codes = codes_of(zero, low, high, rounding);
        with_number(acc_type, [=](auto zero_acc) {
            with_number(out_type, [=](auto zero_out) {
                using Acc = decltype(zero_acc);
                using Out = decltype(zero_out);
                if constexpr (sizeof(Acc) >= 4) {
                    const auto kernel = requantize<Acc, Out>;
                    kernel<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(
                        static_cast<const Acc*>(acc), multipliers, shifts, constant, rounding == HALF_EVEN, codes,
                        static_cast<Out*>(out), groups, inner, count);
                }
            });
        });
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
