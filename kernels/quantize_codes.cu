// Real numbers to codes of up to 8 bits, on a GPU.
//
// Contract: as quantize_codes.cpp, with x, step, zero_point and out in the memory of `device`, and the launch on
// `stream` of that device. Nothing is read by the host. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 quantize_codes.cu
//
// Why this version: one coalesced pass. Not yet run on a device.
#include <algorithm>
#include <cstdint>

namespace {

constexpr int THREADS = 256;
constexpr int BLOCKS_A_PROCESSOR = 8;

__global__ void quantize(const float* __restrict__ x, const float* step, const std::int32_t* zero_point, int low,
                         int high, std::int8_t* __restrict__ out, std::int64_t count) {
    const std::int32_t zero = zero_point ? *zero_point : 0;
    const float size = *step, least = low - zero, most = high - zero;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) {
        const float scaled = __fdiv_rn(x[i], size);
        const float held = scaled != scaled ? 0.0f : scaled < least ? least : scaled > most ? most : scaled;
        out[i] = static_cast<std::int8_t>(__float2int_rn(held) + zero);
    }
}

}  // namespace

extern "C" const char* hwlut_quantize_codes(const float* x, const float* step, const std::int32_t* zero_point, int low,
                                            int high, std::int8_t* out, std::int64_t count, int device, void* stream) {
    int processors = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess && count > 0) {
        const std::int64_t wanted = (count - 1) / THREADS + 1;
        const int blocks = static_cast<int>(std::min<std::int64_t>(wanted, BLOCKS_A_PROCESSOR * processors));
        quantize<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, step, zero_point, low, high, out, count);
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
