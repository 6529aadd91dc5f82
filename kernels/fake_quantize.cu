// Real numbers to values of codes, on a GPU.
//
// Contract: as fake_quantize.cpp, with x, step, zero_point and out in the memory of `device`, and the launch on `stream`
// of that device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 fake_quantize.cu
//
// Why this version: one coalesced pass. Not yet run on a device.
#include "fake_quantize.h"
#include "groups_on_gpu.h"

namespace {

template <bool FEW>
__global__ void quantize(const float* x, const float* step, const std::int32_t* zero_point, Ends ends, float* out,
                         std::int64_t groups, std::int64_t inner, std::int64_t count) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) {
        const std::int64_t group = groups == 1 ? 0 : i / inner % groups;
        const float zero = zero_point ? static_cast<float>(zero_point[group]) : 0.0f;
        out[i] = value<FEW>(x[i], step[group], zero, ends);
    }
}

}  // namespace

extern "C" const char* hwlut_fake_quantize(const float* x, const float* step, const std::int32_t* zero_point, float low,
                                           float high, int significant, float* out, std::int64_t groups,
                                           std::int64_t inner, std::int64_t count, int device, void* stream) {
    int blocks = 0;
    cudaError_t error = blocks_for(count, device, &blocks);
    if (error == cudaSuccess && count > 0) {
        const Ends ends{low, high, significant};
        const auto kernel = significant ? quantize<true> : quantize<false>;
        kernel<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, step, zero_point, ends, out, groups, inner,
                                                                          count);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
