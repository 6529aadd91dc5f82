// The least and the greatest finite value of each group, on a GPU.
//
// Contract: as group_bounds.cpp, with x, low and high in the memory of `device`, and the launch on `stream` of that
// device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 group_bounds.cu
//
// Why this version: a block for each group and row, coalesced where groups are long. Not yet run on a device.
#include "group_bounds.h"
#include "groups_on_gpu.h"

namespace {

__global__ void bounds(const float* x, float* low, float* high, std::int64_t rows, std::int64_t groups,
                       std::int64_t inner, std::int64_t count) {
    __shared__ float lows[THREADS];
    __shared__ float highs[THREADS];
    const Share share = share_of(blockIdx.x, rows, groups, count);
    float least = 0, greatest = 0;
    for (std::int64_t element = share.first + threadIdx.x; element < share.last; element += THREADS)
        widen(finite(x[place_of(element, share.group, groups, inner)]), least, greatest);
    lows[threadIdx.x] = least, highs[threadIdx.x] = greatest;
    for (unsigned half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            widen(lows[half + threadIdx.x], lows[threadIdx.x], highs[threadIdx.x]);
            widen(highs[half + threadIdx.x], lows[threadIdx.x], highs[threadIdx.x]);
        }
    }
    if (threadIdx.x == 0) low[blockIdx.x] = lows[0], high[blockIdx.x] = highs[0];
}

}  // namespace

extern "C" const char* hwlut_group_bounds(const float* x, float* low, float* high, std::int64_t rows,
                                          std::int64_t groups, std::int64_t inner, std::int64_t count, int device,
                                          void* stream) {
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess && count > 0) {
        const auto queue = static_cast<cudaStream_t>(stream);
        bounds<<<static_cast<unsigned>(rows * groups), THREADS, 0, queue>>>(x, low, high, rows, groups, inner, count);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
