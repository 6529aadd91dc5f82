// Matrix products by look-up on a GPU.
//
// Contract: as lut_matmul.cpp, with all tensors in the memory of `device`, aligned to their types, and the launches on
// `stream` of that device. indices are never null: given codes, they are written, and then read for `out`. packed is in
// Layout::PERMUTED (lut_layout.h) where k <= 16, and else not read; the table is. Returns null, or what CUDA reports of
// the launches.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 lut_matmul.cu
//
// Why this version: up to 16 entries a codebook, a sum of entries is a product of one-hot rows and the table, exact on
// int8 tensor cores; the one-hot fragments are made in registers from the indices. Indices are a byte for v inputs, so
// writing them out costs less than encoding a row again for every tile of outputs. With more entries, the one-hot rows
// grow and the rows of the table are gathered. Not yet run on a device.
#include <algorithm>
#include <cstdint>

#include "integers.h"

namespace {

constexpr int LANES = 32;
constexpr int THREADS = 128;
constexpr int TILE = 64;   // rows, 16 of each warp, and outputs
constexpr int GROUPS = 4;  // of four codebooks, staged at a time
constexpr int STRIDE = 20; // words from output to output of a staged group: 16, and 4 that keep banks apart
constexpr int GATHERED = 8;  // rows of a thread that gathers
constexpr int HEAD = 64;   // bytes of a packed table before its entries
static_assert(THREADS / LANES * 16 == TILE);

struct Encoder {
    int kind;  // 0: a tree; squares, sums or maxima of distances
    const std::int8_t* points;
    const std::int32_t* dimensions;
    std::int64_t features, v, codebooks;
    int k, depth, zero_point;
};

struct After {
    const std::int32_t* bias;
    const std::int64_t* ratios;
    std::int64_t channels, zero, low, high;
    int rounding;

    template <class Out>
    __device__ Out operator()(std::uint32_t sum, std::int64_t m) const {
        const auto total = static_cast<std::int32_t>(sum + (bias ? static_cast<std::uint32_t>(bias[m]) : 0));
        if (!ratios) return static_cast<Out>(total);
        const std::int64_t channel = channels == 1 ? 0 : m;
        const std::int64_t product = total * ratios[channel], shift = ratios[channels + channel];
        std::int64_t result = product >> shift;
        if (shift > 0 && rounding < 2) {
            const std::int64_t half = std::int64_t{1} << (shift - 1), rest = product & (2 * half - 1);
            result += rest > half || (rest == half && (rounding == 0 || result & 1));
        }
        result += zero;
        return static_cast<Out>(result < low ? low : result > high ? high : result);
    }
};

struct Scan {
    const std::uint8_t* indices;
    const std::int8_t* table;
    const std::uint32_t* words;  // of the packed table
    std::int64_t rows, codebooks, outputs;
    int k;
    After after;
};

__device__ int nearest(const Encoder& e, const std::int8_t* row, std::int64_t c) {
    int found = 0;
    std::int64_t least = 0;
    for (int k = 0; k < e.k; ++k) {
        const std::int8_t* const point = e.points + (c * e.k + k) * e.v;
        int distance = 0;
        for (int i = 0; i < e.v; ++i) {
            const std::int64_t place = c * e.v + i;
            const int away = (place < e.features ? row[place] : e.zero_point) - point[i];
            const int size = away < 0 ? -away : away;
            if (e.kind == 1) distance += away * away;
            if (e.kind == 2) distance += size;
            if (e.kind == 3 && size > distance) distance = size;
        }
        if (k == 0 || distance < least) found = k, least = distance;
    }
    return found;
}

__device__ int leaf(const Encoder& e, const std::int8_t* row, std::int64_t c) {
    int node = 0;
    for (int level = 0, depth = e.depth; level < depth; ++level) {
        const std::int64_t chosen = e.dimensions[c * depth + level];
        const std::int64_t place = c * e.v + (chosen < 0 ? 0 : chosen >= e.v ? e.v - 1 : chosen);
        const int x = place < e.features ? row[place] : e.zero_point;
        node = 2 * node + 1 + (x >= e.points[c * (e.k - 1) + node]);
    }
    return node - (e.k - 1);
}

__global__ void encode(const Encoder e, const std::int8_t* codes, std::uint8_t* indices, std::int64_t count) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) {
        const std::int64_t c = i % e.codebooks;
        const std::int8_t* const row = codes + i / e.codebooks * e.features;
        indices[i] = static_cast<std::uint8_t>(e.kind ? nearest(e, row, c) : leaf(e, row, c));
    }
}

#if !defined(TENSOR_CORES_EMULATED)
// sums += a b of a warp: a of 16 x 32 bytes, b of 32 x 8, in the fragments of mma.m16n8k32.
__device__ void multiply(std::int32_t (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// The word of a one-hot row of 16 bytes that a lane holds: its four bytes from 4 `place` on.
__device__ std::uint32_t hot(int index, int place) {
    return index / 4 == place ? 1u << 8 * (index % 4) : 0u;
}

template <class Out>
__global__ void sum_one_hot(const Scan s, Out* out, std::int64_t tiles) {
    __shared__ std::uint8_t indices[TILE][4 * GROUPS];
    __shared__ std::uint32_t entries[GROUPS][TILE][STRIDE];
    const int thread = threadIdx.x, warp = thread / LANES, lane = thread % LANES, place = lane % 4;
    const std::int64_t top = blockIdx.x / tiles * TILE, left = blockIdx.x % tiles * TILE;
    const std::int64_t groups = (s.codebooks + 3) / 4;
    std::int32_t sums[TILE / 8][4] = {};
    for (std::int64_t first = 0; first < groups; first += GROUPS) {
        __syncthreads();
        for (int i = thread; i < TILE * 4 * GROUPS; i += THREADS) {
            const std::int64_t row = top + i / (4 * GROUPS), c = 4 * first + i % (4 * GROUPS);
            const bool inside = row < s.rows && c < s.codebooks;
            indices[i / (4 * GROUPS)][i % (4 * GROUPS)] =
                inside ? static_cast<std::uint8_t>(s.indices[row * s.codebooks + c] & (s.k - 1)) : 0;
        }
        for (int i = thread; i < GROUPS * TILE * 16; i += THREADS) {
            const int group = i / (TILE * 16), output = i / 16 % TILE, word = i % 16;
            const std::int64_t four = (left + output) / 4 * groups + first + group;
            entries[group][output][word] = first + group < groups ? s.words[four * 64 + output % 4 * 16 + word] : 0;
        }
        __syncthreads();
#pragma unroll
        for (int pair = 0; pair < 2 * GROUPS; ++pair) {
            const std::uint8_t* const upper = indices[16 * warp + lane / 4] + 2 * pair;
            const std::uint8_t* const lower = indices[16 * warp + lane / 4 + 8] + 2 * pair;
            const std::uint32_t a[4] = {hot(upper[0], place), hot(lower[0], place), hot(upper[1], place),
                                        hot(lower[1], place)};
#pragma unroll
            for (int tile = 0; tile < TILE / 8; ++tile) {
                const std::uint32_t* const column = entries[pair / 2][8 * tile + lane / 4] + pair % 2 * 8 + place;
                const std::uint32_t b[2] = {column[0], column[4]};
                multiply(sums[tile], a, b);
            }
        }
    }
#pragma unroll
    for (int tile = 0; tile < TILE / 8; ++tile)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const std::int64_t row = top + 16 * warp + lane / 4 + i / 2 * 8, m = left + 8 * tile + 2 * place + i % 2;
            const auto sum = static_cast<std::uint32_t>(sums[tile][i]);
            if (row < s.rows && m < s.outputs) out[row * s.outputs + m] = s.after.template operator()<Out>(sum, m);
        }
}

template <class Out>
__global__ void sum_gathered(const Scan s, Out* out, std::int64_t tiles) {
    const std::int64_t top = blockIdx.x / tiles * GATHERED, m = blockIdx.x % tiles * THREADS + threadIdx.x;
    if (m >= s.outputs) return;
    std::uint32_t sums[GATHERED] = {};
    for (std::int64_t c = 0; c < s.codebooks; ++c)
#pragma unroll
        for (int i = 0; i < GATHERED; ++i) {
            const std::int64_t row = top + i < s.rows ? top + i : s.rows - 1;
            const int index = s.indices[row * s.codebooks + c] & (s.k - 1);
            sums[i] += static_cast<std::uint32_t>(s.table[(c * s.k + index) * s.outputs + m]);
        }
#pragma unroll
    for (int i = 0; i < GATHERED; ++i)
        if (top + i < s.rows) out[(top + i) * s.outputs + m] = s.after.template operator()<Out>(sums[i], m);
}

std::int64_t quotient(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

}  // namespace

extern "C" const char* hwlut_lut_matmul(int kind, const std::int8_t* points, const std::int32_t* dimensions,
                                        std::int64_t features, std::int64_t v, int zero_point, std::int64_t codebooks,
                                        std::int64_t k, std::int64_t outputs, const std::int8_t* table,
                                        const std::uint8_t* packed, const std::int32_t* bias,
                                        const std::int64_t* ratios, std::int64_t channels, std::int64_t zero,
                                        std::int64_t low, std::int64_t high, int rounding, const std::int8_t* codes,
                                        std::uint8_t* indices, void* out, int out_type, std::int64_t rows, int device,
                                        void* stream) {
    int processors = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    const auto queue = static_cast<cudaStream_t>(stream);
    const int entries = static_cast<int>(k);
    if (error == cudaSuccess && codes && rows > 0) {
        int depth = 0;
        while (k >> (depth + 1)) ++depth;
        const Encoder encoder{kind, points, dimensions, features, v, codebooks, entries, depth, zero_point};
        const std::int64_t count = rows * codebooks;
        const int blocks = static_cast<int>(std::min<std::int64_t>(quotient(count, THREADS), 16 * processors));
        encode<<<blocks, THREADS, 0, queue>>>(encoder, codes, indices, count);
        error = cudaGetLastError();
    }
    if (error == cudaSuccess && out && rows > 0) {
        const auto words = reinterpret_cast<const std::uint32_t*>(packed + HEAD);
        const After after{bias, ratios, channels, zero, low, high, rounding};
        const Scan scan{indices, table, words, rows, codebooks, outputs, entries, after};
        const bool one_hot = k <= 16;
        const std::int64_t tiles = quotient(outputs, one_hot ? TILE : THREADS);
        const auto blocks = static_cast<unsigned>(quotient(rows, one_hot ? TILE : GATHERED) * tiles);
        with_integer(out_type, [=](auto zero_code) {
            using Out = decltype(zero_code);
            if (one_hot) sum_one_hot<Out><<<blocks, THREADS, 0, queue>>>(scan, static_cast<Out*>(out), tiles);
            else sum_gathered<Out><<<blocks, THREADS, 0, queue>>>(scan, static_cast<Out*>(out), tiles);
        });
        error = cudaGetLastError();
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
