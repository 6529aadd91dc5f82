// Real numbers to multiples of a step in a range, on a GPU.
//
// Contract: as ranged_quantize.cpp, with x, step, top and out in the memory of `device`, and the launch on `stream` of
// that device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 ranged_quantize.cu
//
// Why this version: one coalesced pass. Not yet run on a device.
#include "ranged_quantize.h"
#include "groups_on_gpu.h"

namespace {

__global__ void quantize(const float* x, const float* step, const float* top, bool is_signed, float* out,
                         std::int64_t count) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride)
        out[i] = ranged_value(x[i], *step, *top, is_signed);
}

}  // namespace

extern "C" const char* hwlut_ranged_quantize(const float* x, const float* step, const float* top, int is_signed,
                                             float* out, std::int64_t count, int device, void* stream) {
    int blocks = 0;
    cudaError_t error = blocks_for(count, device, &blocks);
    if (error == cudaSuccess && count > 0) {
        quantize<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, step, top, is_signed != 0, out, count);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
