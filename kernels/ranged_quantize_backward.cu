// Gradients of ranged_quantize.cu, on a GPU.
//
// Contract: as ranged_quantize_backward.cpp, with all arrays in the memory of `device`, and the launch on `stream` of
// that device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 ranged_quantize_backward.cu
//
// Why this version: one pass, a block for each piece, whose threads are added up in one order, so that results are the
// same every time. Not yet run on a device.
#include "ranged_quantize.h"
#include "groups_on_gpu.h"

namespace {

__global__ void differentiate(const float* grad, const float* x, const float* step, const float* top, bool is_signed,
                              float* of_x, double* sums, std::int64_t count) {
    __shared__ double steps[THREADS];
    __shared__ double tops[THREADS];
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * PIECE;
    const std::int64_t last = first + PIECE < count ? first + PIECE : count;
    double of_step = 0, of_top = 0;
    for (std::int64_t i = first + threadIdx.x; i < last; i += THREADS) {
        float step_part, top_part;
        ranged_gradients(grad[i], x[i], *step, *top, is_signed, of_x[i], step_part, top_part);
        of_step += step_part;
        of_top += top_part;
    }
    steps[threadIdx.x] = of_step;
    tops[threadIdx.x] = of_top;
    for (unsigned half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            steps[threadIdx.x] += steps[half + threadIdx.x];
            tops[threadIdx.x] += tops[half + threadIdx.x];
        }
    }
    if (threadIdx.x == 0) {
        sums[2 * static_cast<std::int64_t>(blockIdx.x)] = steps[0];
        sums[2 * static_cast<std::int64_t>(blockIdx.x) + 1] = tops[0];
    }
}

}  // namespace

extern "C" const char* hwlut_ranged_quantize_backward(const float* grad, const float* x, const float* step,
                                                      const float* top, int is_signed, float* of_x, double* sums,
                                                      std::int64_t count, int device, void* stream) {
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess && count > 0) {
        const auto blocks = static_cast<unsigned>((count + PIECE - 1) / PIECE);
        differentiate<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(grad, x, step, top, is_signed != 0,
                                                                                 of_x, sums, count);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
