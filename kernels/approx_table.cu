// Matrix product by a table on a GPU: out[z][m][n] = sum over k of table[a[z][m][k] - low_a][b[z][k][n] - low_b] +
// offset.
//
// Contract: as approx_table.cpp, with a, b, table and out in the memory of `device`, aligned to their types, and the
// launch on `stream` of that device. Returns null, or what CUDA reports of the launch.
//
// nvcc -O3 -std=c++17 -Xcompiler -fPIC -shared -gencode arch=compute_90,code=sm_90 approx_table.cu
//
// Why this version: a look-up costs the time of its bank conflicts, about three cycles a warp, so everything else is
// kept off the shared memory: each warp looks up one row code for 32 columns at a time, codes come four to a word, sums
// stay in registers. 256 x 256 entries take 128 KB of shared memory, which compute capabilities 8.0 and 9.0 have; where
// they do not fit, the table is read through the caches. One block a processor stages the table once and takes tiles
// in turn; where tiles are few, they are split over k. Not yet run on a device.
#include <algorithm>
#include <cstdint>

namespace {

constexpr int THREADS = 512;
constexpr int LANES = 32;
constexpr int ROWS = 8;     // of a tile, summed by each warp
constexpr int COLUMNS = 4;  // of a tile, summed by each thread: LANES apart
constexpr int TILE = 128;   // rows and columns
constexpr int DEPTH = 64;   // codes of each staged at a time
constexpr int STRIDE = DEPTH + 4;  // bytes from line to line: an odd number of words, for 32 banks
constexpr int CODES_BYTES = 2 * TILE * STRIDE;
constexpr std::int64_t SHORTEST = 4 * DEPTH;  // of a part of k
static_assert(THREADS / LANES * ROWS == TILE && LANES * COLUMNS == TILE && CODES_BYTES % 16 == 0);

struct Operand {
    const void* codes;
    int type;
    std::int64_t low, high;
};

struct Problem {
    Operand a, b;
    bool shared_b;
    const std::int16_t* table;
    int rows, columns;
    std::uint32_t offset;
    std::uint32_t* out;
    std::int64_t M, K, N;
    std::int64_t part, parts;  // values of k in a part, and their number
    std::int64_t row_tiles, column_tiles, tasks;
};

// staged[line][k] = the place of a code, for up to `lines` of TILE lines and `depth` of DEPTH; 0 beyond. A line lies
// along k in memory, or beside its neighbours.
template <bool ALONG, class Code>
__device__ void stage(const Code* codes, std::int64_t line_stride, std::int64_t k_stride, std::int64_t lines,
                      std::int64_t depth, const Operand& operand, std::uint8_t* staged) {
    constexpr int AT_ONCE = 8;
#pragma unroll 1
    for (int base = threadIdx.x; base < TILE * DEPTH; base += AT_ONCE * THREADS) {
        Code held[AT_ONCE];
        const auto line = [=](int i) { return ALONG ? (base + i * THREADS) / DEPTH : (base + i * THREADS) % TILE; };
        const auto k = [=](int i) { return ALONG ? (base + i * THREADS) % DEPTH : (base + i * THREADS) / TILE; };
        const auto inside = [=](int i) { return line(i) < lines && k(i) < depth; };
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            held[i] = inside(i) ? codes[line(i) * line_stride + k(i) * k_stride] : static_cast<Code>(0);
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const std::int64_t code = held[i];
            const std::int64_t nearest = code < operand.low ? operand.low : code > operand.high ? operand.high : code;
            staged[line(i) * STRIDE + k(i)] = inside(i) ? static_cast<std::uint8_t>(nearest - operand.low) : 0;
        }
    }
}

// As above, from the code numbered `first` on.
template <bool ALONG>
__device__ void stage(const Operand& operand, std::int64_t first, std::int64_t line_stride, std::int64_t k_stride,
                      std::int64_t lines, std::int64_t depth, std::uint8_t* staged) {
    const auto run = [&](auto zero) {
        const auto codes = static_cast<const decltype(zero)*>(operand.codes) + first;
        stage<ALONG>(codes, line_stride, k_stride, lines, depth, operand, staged);
    };
    switch (operand.type) {
        case -1: return run(std::uint8_t{});
        case 1: return run(std::int8_t{});
        case 2: return run(std::int16_t{});
        case 4: return run(std::int32_t{});
        case 8: return run(std::int64_t{});
    }
}

__device__ std::uint32_t word(const std::uint8_t* bytes) { return *reinterpret_cast<const std::uint32_t*>(bytes); }

// The table, or `staged` filled with it by the whole block.
template <bool STAGED>
__device__ const char* prepared(const Problem& p, std::int16_t* staged) {
    if (!STAGED) return reinterpret_cast<const char*>(p.table);
    const int entries = p.rows * p.columns;
    const int vectors = reinterpret_cast<std::uintptr_t>(p.table) % 16 == 0 ? entries / 8 : 0;
    for (int i = threadIdx.x; i < vectors; i += THREADS)
        reinterpret_cast<uint4*>(staged)[i] = reinterpret_cast<const uint4*>(p.table)[i];
    for (int i = 8 * vectors + threadIdx.x; i < entries; i += THREADS) staged[i] = p.table[i];
    return reinterpret_cast<const char*>(staged);
}

// sums += the entries of `depth` values of k, a multiple of four.
template <bool STAGED>
__device__ void add(const char* table, int row_bytes, const std::uint8_t* a, const std::uint8_t* b, int depth,
                    std::uint32_t (&sums)[ROWS][COLUMNS]) {
    for (int k = 0; k < depth; k += 4) {
        std::uint32_t left[ROWS], right[COLUMNS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) left[i] = word(a + i * STRIDE + k);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) right[j] = word(b + j * LANES * STRIDE + k);
#pragma unroll
        for (int step = 0; step < 4; ++step)
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                const char* const row = table + (left[i] >> 8 * step & 255) * row_bytes;
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j) {
                    const auto entry = reinterpret_cast<const std::int16_t*>(row + 2 * (right[j] >> 8 * step & 255));
                    sums[i][j] += static_cast<std::uint32_t>(STAGED ? *entry : __ldg(entry));
                }
            }
    }
}

template <bool STAGED>
__global__ void __launch_bounds__(THREADS, 1) sum_entries(const Problem p) {
    extern __shared__ uint4 shared[];
    const auto a_codes = reinterpret_cast<std::uint8_t*>(shared), b_codes = a_codes + TILE * STRIDE;
    const char* const table = prepared<STAGED>(p, reinterpret_cast<std::int16_t*>(a_codes + CODES_BYTES));
    const int warp = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    for (std::int64_t task = blockIdx.x; task < p.tasks; task += gridDim.x) {
        const std::int64_t left = task % p.column_tiles * TILE;
        const std::int64_t top = task / p.column_tiles % p.row_tiles * TILE;
        const std::int64_t rest = task / p.column_tiles / p.row_tiles;
        const std::int64_t z = rest / p.parts, from = rest % p.parts * p.part;
        const std::int64_t until = from + p.part < p.K ? from + p.part : p.K;
        const std::int64_t row = top + warp * ROWS;
        std::uint32_t sums[ROWS][COLUMNS] = {};
        for (std::int64_t k = from; k < until; k += DEPTH) {
            __syncthreads();
            stage<true>(p.a, (z * p.M + top) * p.K + k, p.K, 1, p.M - top, until - k, a_codes);
            stage<false>(p.b, ((p.shared_b ? 0 : z) * p.K + k) * p.N + left, 1, p.N, p.N - left, until - k, b_codes);
            __syncthreads();
            const int depth = until - k < DEPTH ? static_cast<int>(until - k + 3) / 4 * 4 : DEPTH;
            if (row < p.M)
                add<STAGED>(table, 2 * p.columns, a_codes + warp * ROWS * STRIDE, b_codes + lane * STRIDE, depth, sums);
        }
        const auto count = static_cast<std::uint32_t>(until - from);
        const std::uint32_t start = count * p.offset - (-count & 3) * static_cast<std::uint32_t>(p.table[0]);
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) {
                const std::int64_t column = left + lane + j * LANES;
                if (row + i >= p.M || column >= p.N) continue;
                std::uint32_t* const out = p.out + (z * p.M + row + i) * p.N + column;
                if (p.parts == 1) *out = start + sums[i][j];
                else atomicAdd(out, start + sums[i][j]);
            }
    }
}

template <bool STAGED>
cudaError_t launch(const Problem& problem, int bytes, int processors, cudaStream_t stream) {
    const int blocks = static_cast<int>(std::min<std::int64_t>(problem.tasks, processors));
    const cudaError_t error =
        cudaFuncSetAttribute(sum_entries<STAGED>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
    sum_entries<STAGED><<<blocks, THREADS, bytes, stream>>>(problem);
    return cudaGetLastError();
}

std::int64_t quotient(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

}  // namespace

extern "C" const char* hwlut_approx_table(const void* a, int a_type, std::int64_t low_a, const void* b, int b_type,
                                          std::int64_t low_b, int shared_b, const std::int16_t* table,
                                          std::int64_t rows, std::int64_t columns, std::int64_t offset,
                                          std::int32_t* out, std::int64_t batch, std::int64_t M, std::int64_t K,
                                          std::int64_t N, int device, void* stream) {
    int processors = 0, most_bytes = 0;
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&most_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (error == cudaSuccess && batch * M * N > 0) {
        const std::int64_t row_tiles = quotient(M, TILE), column_tiles = quotient(N, TILE);
        const std::int64_t tiles = batch * row_tiles * column_tiles;
        const std::int64_t wanted =
            std::clamp<std::int64_t>(processors / tiles, 1, std::max<std::int64_t>(K / SHORTEST, 1));
        const std::int64_t part = std::max<std::int64_t>(quotient(quotient(K, wanted), DEPTH) * DEPTH, DEPTH);
        const std::int64_t parts = std::max<std::int64_t>(quotient(K, part), 1);
        const Problem problem{{a, a_type, low_a, low_a + rows - 1},
                              {b, b_type, low_b, low_b + columns - 1},
                              shared_b != 0,
                              table,
                              static_cast<int>(rows),
                              static_cast<int>(columns),
                              static_cast<std::uint32_t>(offset),
                              reinterpret_cast<std::uint32_t*>(out),
                              M,
                              K,
                              N,
                              part,
                              parts,
                              row_tiles,
                              column_tiles,
                              tiles * parts};
        const auto queue = static_cast<cudaStream_t>(stream);
        if (parts > 1) error = cudaMemsetAsync(out, 0, batch * M * N * sizeof(std::int32_t), queue);
        const auto bytes = static_cast<int>(CODES_BYTES + 2 * rows * columns);
        if (error == cudaSuccess)
            error = bytes <= most_bytes ? launch<true>(problem, bytes, processors, queue)
                                        : launch<false>(problem, CODES_BYTES, processors, queue);
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
