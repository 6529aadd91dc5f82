// Look-up on a GPU: out[i] = table[clamp(codes[i], low, low + entries - 1) - low].
//
// Contract: as lookup.cpp, with codes, table and out in the memory of `device`, aligned to their
// types, and the launch on `stream` of that device. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 lookup.cu
//
// Why this version: the look-up moves little more than codes and results, so the table is staged in
// shared memory where it fits and the rest is one coalesced pass. Not yet run on a device.
#include <algorithm>
#include <cstdint>

#include "integers.h"

namespace {

constexpr int THREADS = 256;
constexpr int CODES_A_THREAD = 8;
constexpr int BLOCKS_A_PROCESSOR = 8;
constexpr std::int64_t SHARED_BYTES = 24 << 10;  // eight blocks of it fit the shared memory of one processor

template <class Code, class Word>
__global__ void look_up(const Code* __restrict__ codes, const Word* table, std::int64_t entries,
                        std::int64_t low, Word* __restrict__ out, std::int64_t count, bool stage) {
    extern __shared__ std::uint64_t shared[];
    if (stage) {
        auto staged = reinterpret_cast<Word*>(shared);
        for (std::int64_t i = threadIdx.x; i < entries; i += blockDim.x) staged[i] = table[i];
        __syncthreads();
        table = staged;
    }
    const std::int64_t high = low + entries - 1;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
        const std::int64_t code = codes[i];
        out[i] = table[(code < low ? low : code > high ? high : code) - low];
    }
}

}  // namespace

extern "C" const char* hwlut_lookup(const void* codes, int code_type, const void* table, int entry_bytes,
                                    std::int64_t entries, std::int64_t low, void* out, std::int64_t count, int device,
                                    void* stream) {
    int processors = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess && count > 0) {
        const std::int64_t wanted = (count - 1) / (THREADS * CODES_A_THREAD) + 1;
        const int blocks = static_cast<int>(std::min<std::int64_t>(wanted, BLOCKS_A_PROCESSOR * processors));
        const bool stage = entries * entry_bytes <= SHARED_BYTES;
        with_integer(code_type, [=](auto zero_code) {
            with_word(entry_bytes, [=](auto zero_word) {
                using Code = decltype(zero_code);
                using Word = decltype(zero_word);
                look_up<<<blocks, THREADS, stage ? entries * entry_bytes : 0, static_cast<cudaStream_t>(stream)>>>(
                    static_cast<const Code*>(codes), static_cast<const Word*>(table), entries, low,
                    static_cast<Word*>(out), count, stage);
            });
        });
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
