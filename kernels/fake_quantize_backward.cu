// Gradients of fake_quantize.cu, on a GPU.
//
// Contract: as fake_quantize_backward.cpp, with all arrays in the memory of `device`, and the launch on `stream` of that
// device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 fake_quantize_backward.cu
//
// Why this version: a coalesced pass for x; for steps a block for each group and row, whose threads are added up in one
// order, so that results are the same every time. Not yet run on a device.
#include "fake_quantize.h"
#include "groups_on_gpu.h"

namespace {

struct Problem {
    const float *grad, *x, *step;
    const std::int32_t* zero_point;
    Ends ends;
    bool margin;
    float* of_x;
    double* of_step;
    std::int64_t rows, groups, inner, count;
};

template <bool FEW>
__device__ float part_of(const Problem& problem, std::int64_t i, std::int64_t group, float& of_x) {
    const float zero = problem.zero_point ? static_cast<float>(problem.zero_point[group]) : 0.0f;
    return gradients<FEW>(problem.grad[i], problem.x[i], problem.step[group], zero, problem.ends, problem.margin, of_x);
}

template <bool FEW>
__global__ void differentiate(Problem problem) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    for (; i < problem.count; i += stride)
        part_of<FEW>(problem, i, problem.groups == 1 ? 0 : i / problem.inner % problem.groups, problem.of_x[i]);
}

template <bool FEW>
__global__ void sum(Problem problem) {
    __shared__ double sums[THREADS];
    const Share share = share_of(blockIdx.x, problem.rows, problem.groups, problem.count);
    double total = 0;
    for (std::int64_t element = share.first + threadIdx.x; element < share.last; element += THREADS) {
        float unused;
        const std::int64_t i = place_of(element, share.group, problem.groups, problem.inner);
        total += part_of<FEW>(problem, i, share.group, unused);
    }
    sums[threadIdx.x] = total;
    for (unsigned half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[half + threadIdx.x];
    }
    if (threadIdx.x == 0) problem.of_step[blockIdx.x] = sums[0];
}

}  // namespace

extern "C" const char* hwlut_fake_quantize_backward(const float* grad, const float* x, const float* step,
                                                    const std::int32_t* zero_point, float low, float high,
                                                    int significant, int margin, float* of_x, double* of_step,
                                                    std::int64_t rows, std::int64_t groups, std::int64_t inner,
                                                    std::int64_t count, int device, void* stream) {
    const Problem problem{grad,        x,    step,    zero_point, {low, high, significant},
                          margin != 0, of_x, of_step, rows,       groups,
                          inner,       count};
    const auto queue = static_cast<cudaStream_t>(stream);
    int blocks = 0;
    cudaError_t error = blocks_for(count, device, &blocks);
    if (error == cudaSuccess && count > 0) {
        const auto elements = significant ? differentiate<true> : differentiate<false>;
        elements<<<blocks, THREADS, 0, queue>>>(problem);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess && count > 0 && of_step) {
        const auto steps = significant ? sum<true> : sum<false>;
        steps<<<static_cast<unsigned>(rows * groups), THREADS, 0, queue>>>(problem);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
