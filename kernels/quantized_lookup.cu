// Quantization, look-up and dequantization in one pass, on a GPU.
//
// Contract: as quantized_lookup.cpp, with x, exponents, table and out in the memory of `device`,
// aligned to their types, and the launch on `stream` of that device. Nothing is read by the host.
// Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 quantized_lookup.cu
//
// Why this version: the pass moves x in and results out, so the dequantized table is staged in shared
// memory where it fits and the rest is one coalesced pass. Not yet run on a device.
#include <algorithm>
#include <cstdint>

#include "integers.h"

namespace {

constexpr int THREADS = 256;
constexpr int NUMBERS_A_THREAD = 8;
constexpr int BLOCKS_A_PROCESSOR = 8;
constexpr std::int64_t SHARED_BYTES = 24 << 10;  // eight blocks of it fit the shared memory of one processor

template <class Real, class Entry>
__global__ void look_up(const Real* __restrict__ x, const std::int32_t* __restrict__ exponents, const Entry* table,
                        std::int64_t entries, std::int64_t low, Real* __restrict__ out, std::int64_t count,
                        bool stage) {
    extern __shared__ double shared[];
    const auto staged = reinterpret_cast<Real*>(shared);
    const Real power = static_cast<Real>(ldexp(1.0, exponents[0]));
    const Real unit = static_cast<Real>(ldexp(1.0, -exponents[1]));
    if (stage) {
        for (std::int64_t i = threadIdx.x; i < entries; i += blockDim.x) staged[i] = static_cast<Real>(table[i]) * unit;
        __syncthreads();
    }
    const Real lowest = static_cast<Real>(low);
    const Real highest = static_cast<Real>(low + entries - 1);
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
        const Real real = x[i];
        if (real != real) {
            out[i] = real;
            continue;
        }
        const Real scaled = real * power;
        const Real held = scaled < lowest ? lowest : scaled > highest ? highest : scaled;
        const auto entry = static_cast<std::int64_t>(rint(held)) - low;
        out[i] = stage ? staged[entry] : static_cast<Real>(table[entry]) * unit;
    }
}

template <class Real, class Entry>
void launch(const void* x, const std::int32_t* exponents, const Entry* table, std::int64_t entries, std::int64_t low,
            void* out, std::int64_t count, int processors, void* stream) {
    const std::int64_t wanted = (count - 1) / (THREADS * NUMBERS_A_THREAD) + 1;
    const int blocks = static_cast<int>(std::min<std::int64_t>(wanted, BLOCKS_A_PROCESSOR * processors));
    const std::int64_t bytes = entries * static_cast<std::int64_t>(sizeof(Real));
    const bool stage = bytes <= SHARED_BYTES;
    look_up<<<blocks, THREADS, stage ? bytes : 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<const Real*>(x), exponents, table, entries, low, static_cast<Real*>(out), count, stage);
}

}  // namespace

extern "C" const char* hwlut_quantized_lookup(const void* x, int real_bytes, const std::int32_t* exponents,
                                              const void* table, int entry_type, std::int64_t entries,
                                              std::int64_t low, void* out, std::int64_t count, int device,
                                              void* stream) {
    int processors = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess && count > 0) {
        with_integer(entry_type, [=](auto zero) {
            const auto typed = static_cast<const decltype(zero)*>(table);
            if (real_bytes == 4)
                launch<float>(x, exponents, typed, entries, low, out, count, processors, stream);
            else
                launch<double>(x, exponents, typed, entries, low, out, count, processors, stream);
        });
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
