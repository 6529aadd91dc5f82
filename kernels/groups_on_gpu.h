// Groups of groups.h for the blocks of a GPU: element i belongs to group i / inner % groups.
#pragma once
#include <algorithm>
#include <cstdint>

constexpr int THREADS = 256;
constexpr int BLOCKS_A_PROCESSOR = 8;

// What a block reduces: of its group, the elements from `first` to before `last`, for one row of results.
struct Share {
    std::int64_t group, first, last;
};

__device__ inline Share share_of(std::int64_t block, std::int64_t rows, std::int64_t groups, std::int64_t count) {
    const std::int64_t size = count / groups, part = (size - 1) / rows + 1, first = block / groups * part;
    return {block % groups, first, first + part < size ? first + part : size};
}

__device__ inline std::int64_t place_of(std::int64_t element, std::int64_t group, std::int64_t groups,
                                        std::int64_t inner) {
    return (element / inner * groups + group) * inner + element % inner;
}

// How many blocks take `count` elements in turn.
inline cudaError_t blocks_for(std::int64_t count, int device, int* blocks) {
    int processors = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    const std::int64_t wanted = (count + THREADS - 1) / THREADS;
    *blocks = static_cast<int>(std::min<std::int64_t>(wanted, BLOCKS_A_PROCESSOR * processors));
    return error;
}
