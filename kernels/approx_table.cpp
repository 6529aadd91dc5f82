// Matrix product by a table: out[z][m][n] = sum over k of table[a[z][m][k] - low_a][b[z][k][n] - low_b] + offset.
//
// Contract: a is [batch][M][K] of `a_type` (integers.h), b is [batch][K][N] of `b_type`, or [K][N] where
// `shared_b`; table is [rows][columns] of int16, 1 to 256 each; out is [batch][M][N] of int32. All are contiguous
// and do not overlap; a code outside the table is held to its nearer end; threads >= 1. Sums are taken modulo 2^32:
// exact where they fit int32.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared approx_table.cpp
//
// Why this version: for one k, the products of every row code with a block of columns fit a cache, and a transposition
// of table columns makes them 0.09 ns each; the rest are vector additions without any look-up. One thread of an AMD
// EPYC (Zen 3, AVX2), ns a product: additions 0.055 (4 k at a time; 8: 0.08, 16: 0.10), 0.04 where two products fit
// 16 bits; a scalar loop 0.5, along the longer side: of 9 k, 3136 rows and one column 1.5, and 3.6 along that column.
// The longer side gives the rows of additions. The AVX-512 parts (wider additions;
// permutes where the sides are short) have not run on such a processor.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "integers.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int CODES = 256;
constexpr int DEPTH = 4;       // values of k whose products lie in the cache together
constexpr int COLUMNS = 64;    // columns of a block of products
constexpr std::int64_t ROWS = 4096;  // rows summed before the next block of products
constexpr std::int64_t ALONE = 1 << 20;  // products that one thread computes sooner than several

// One matrix of the batch: byte codes from 0 on, and the table's unsigned entries by column, then row code.
struct Problem {
    const std::uint8_t* rows;     // [M][K]
    const std::uint8_t* columns;  // [K][N]
    const std::uint16_t* table;   // [256][256]; for `plain` and `by_permutes` by row code, then column code
    bool pairs;                   // two entries fit 16 bits
    std::int64_t M, K, N;
    std::uint32_t start;          // what each sum begins with
    std::uint32_t* out;
    std::int64_t row_stride, column_stride;
};

void plain(const Problem& p, int threads) {
#pragma omp parallel for collapse(2) num_threads(threads)
    for (std::int64_t m = 0; m < p.M; ++m)
        for (std::int64_t from = 0; from < p.N; from += 256) {
            const std::int64_t count = std::min<std::int64_t>(256, p.N - from);
            std::uint32_t sums[256];
            std::fill_n(sums, count, p.start);
            for (std::int64_t k = 0; k < p.K; ++k) {
                const std::uint16_t* row = p.table + CODES * p.rows[m * p.K + k];
                const std::uint8_t* codes = p.columns + k * p.N + from;
                for (std::int64_t n = 0; n < count; ++n) sums[n] += row[codes[n]];
            }
            for (std::int64_t n = 0; n < count; ++n) p.out[m * p.row_stride + (from + n) * p.column_stride] = sums[n];
        }
}

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define INLINE inline __attribute__((always_inline))

template <int BYTES>
struct Vector {
    typedef std::uint32_t Wide __attribute__((vector_size(BYTES)));
    typedef std::uint16_t Narrow __attribute__((vector_size(BYTES)));
};

AVX2 INLINE __m256i both(const std::uint16_t* low, const std::uint16_t* high) {
    return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(high), reinterpret_cast<const __m128i*>(low));
}

// products[r][0..15] of table columns codes[0..15]: a transposition, eight rows at a time.
AVX2 void transpose(const std::uint16_t* table, const std::uint8_t* codes, std::uint16_t* products, int stride) {
    const std::uint16_t* column[16];
    for (int j = 0; j < 16; ++j) column[j] = table + CODES * codes[j];
    for (int r = 0; r < CODES; r += 8) {
        __m256i x[8], y[8], z[8];
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j)  // lane 0: column j, lane 1: column j + 8
            x[j] = both(column[j] + r, column[j + 8] + r);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            y[j] = _mm256_unpacklo_epi16(x[2 * j], x[2 * j + 1]);
            y[j + 4] = _mm256_unpackhi_epi16(x[2 * j], x[2 * j + 1]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
            z[2 * (j % 2) + 4 * (j / 2)] = _mm256_unpacklo_epi32(y[2 * j], y[2 * j + 1]);
            z[2 * (j % 2) + 4 * (j / 2) + 1] = _mm256_unpackhi_epi32(y[2 * j], y[2 * j + 1]);
        }
        const auto row = reinterpret_cast<__m256i*>(products + r * stride);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {  // rows 2j and 2j + 1: the low and high halves of two columns' four
            const int from = 4 * (j / 2) + j % 2;
            _mm256_store_si256(row + 2 * j * stride / 16, _mm256_unpacklo_epi64(z[from], z[from + 2]));
            _mm256_store_si256(row + (2 * j + 1) * stride / 16, _mm256_unpackhi_epi64(z[from], z[from + 2]));
        }
    }
}

// sums[m] += the rows of products of DEPTH codes each. A 32-bit lane holds two columns: `both` sums the lanes, `odd`
// their upper halves; modulo 2^32 the even column is both - (odd << 16).
template <int BYTES, int COUNT, bool PAIRS>
INLINE void add(const std::uint16_t* products, const std::uint8_t* codes, std::int64_t code_stride, std::int64_t rows,
                std::uint32_t* sums) {
    using Wide = typename Vector<BYTES>::Wide;
    using Narrow = typename Vector<BYTES>::Narrow;
    constexpr int WIDTH = COUNT * BYTES / 2;
    for (std::int64_t m = 0; m < rows; ++m, codes += code_stride, sums += WIDTH) {
        Wide both[COUNT] = {}, odd[COUNT] = {};
#pragma GCC unroll 4
        for (int k = 0; k < DEPTH; k += PAIRS ? 2 : 1) {
            const std::uint16_t* first = products + (k * CODES + codes[k]) * WIDTH;
            const std::uint16_t* second = products + ((k + 1) * CODES + codes[k + 1]) * WIDTH;
#pragma GCC unroll 4
            for (int j = 0; j < COUNT; ++j) {
                Narrow row = reinterpret_cast<const Narrow*>(first)[j];
                if constexpr (PAIRS) row += reinterpret_cast<const Narrow*>(second)[j];
                both[j] += reinterpret_cast<Wide>(row);
                odd[j] += reinterpret_cast<Wide>(row) >> 16;
            }
        }
#pragma GCC unroll 4
        for (int j = 0; j < COUNT; ++j) {
            reinterpret_cast<Wide*>(sums)[j] += both[j];
            reinterpret_cast<Wide*>(sums)[COUNT + j] += odd[j];
        }
    }
}

template <int COUNT, bool PAIRS>
AVX2 void add_avx2(const std::uint16_t* products, const std::uint8_t* codes, std::int64_t code_stride,
                   std::int64_t rows, std::uint32_t* sums) {
    add<32, COUNT, PAIRS>(products, codes, code_stride, rows, sums);
}

template <int COUNT, bool PAIRS>
AVX512 void add_avx512(const std::uint16_t* products, const std::uint8_t* codes, std::int64_t code_stride,
                       std::int64_t rows, std::uint32_t* sums) {
    add<64, COUNT, PAIRS>(products, codes, code_stride, rows, sums);
}

template <bool PAIRS>
auto adder(int width) {
    if (width % 32 == 0 && __builtin_cpu_supports("avx512bw"))
        return width == 32 ? add_avx512<1, PAIRS> : add_avx512<2, PAIRS>;
    switch (width) {
        case 16: return add_avx2<1, PAIRS>;
        case 32: return add_avx2<2, PAIRS>;
        case 48: return add_avx2<3, PAIRS>;
        default: return add_avx2<4, PAIRS>;
    }
}

struct Aligned {
    explicit Aligned(std::size_t bytes) : memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64)) {}
    ~Aligned() { std::free(memory); }
    Aligned(const Aligned&) = delete;
    template <class Word>
    Word* as() const { return static_cast<Word*>(memory); }
    void* memory;
};

// Rows [top, bottom) of the columns [left, left + COLUMNS).
void by_rows(const Problem& p, std::int64_t top, std::int64_t bottom, std::int64_t left) {
    const std::int64_t count = std::min<std::int64_t>(COLUMNS, p.N - left), rows = bottom - top;
    const int width = static_cast<int>((count + 15) / 16 * 16);
    const auto add = p.pairs ? adder<true>(width) : adder<false>(width);
    const Aligned products_memory(sizeof(std::uint16_t) * DEPTH * CODES * width);
    const Aligned sums_memory(sizeof(std::uint32_t) * rows * width);
    const auto products = products_memory.as<std::uint16_t>();
    const auto sums = sums_memory.as<std::uint32_t>();
    std::memset(sums, 0, sizeof(std::uint32_t) * rows * width);
    std::vector<std::uint8_t> last(p.K % DEPTH ? rows * DEPTH : 0);  // the codes of a last, shorter step
    for (std::int64_t k = 0; k < p.K; k += DEPTH) {
        for (int step = 0; step < DEPTH; ++step) {
            std::uint16_t* const block = products + step * CODES * width;
            if (k + step >= p.K) {
                std::memset(block, 0, sizeof(std::uint16_t) * CODES * width);
                continue;
            }
            std::uint8_t codes[COLUMNS] = {};
            std::copy_n(p.columns + (k + step) * p.N + left, count, codes);
            for (int column = 0; column < width; column += 16)
                transpose(p.table, codes + column, block + column, width);
        }
        const std::uint8_t* codes = p.rows + top * p.K + k;
        if (k + DEPTH <= p.K) {
            add(products, codes, p.K, rows, sums);
        } else {
            for (std::int64_t m = 0; m < rows; ++m) std::copy_n(codes + m * p.K, p.K - k, last.data() + m * DEPTH);
            add(products, last.data(), DEPTH, rows, sums);
        }
    }
    for (std::int64_t m = 0; m < rows; ++m) {
        const std::uint32_t *both = sums + m * width, *odd = both + width / 2;
        std::uint32_t* out = p.out + (top + m) * p.row_stride + left * p.column_stride;
        for (std::int64_t n = 0; n < count; ++n)
            out[n * p.column_stride] = p.start + (n % 2 ? odd[n / 2] : both[n / 2] - (odd[n / 2] << 16));
    }
}

void by_rows(const Problem& p, int threads) {
    const std::int64_t blocks = (p.N + COLUMNS - 1) / COLUMNS;
    const std::int64_t share = (p.M * blocks + threads - 1) / threads;  // rows a thread sums, of one block of columns
    const std::int64_t least = std::min<std::int64_t>(p.M, CODES), most = std::min(p.M, ROWS);
    const std::int64_t height = std::clamp(share, least, most);
    const std::int64_t tasks = blocks * ((p.M + height - 1) / height);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::int64_t task = 0; task < tasks; ++task) {
        const std::int64_t top = task / blocks * height;
        by_rows(p, top, std::min(top + height, p.M), task % blocks * COLUMNS);
    }
}

// Four permutes by the low six bits of a code cover 256 bytes; masks of its upper two, shared by the rows, choose among
// them. Low and high bytes of the entries are summed apart, even and odd columns apart, in 16 bits: 256 k at a time.
__attribute__((target("avx512f,avx512bw,avx512vbmi"))) void add_permuted(
    const std::uint8_t* const (&rows)[2], const std::uint8_t* planes, const std::uint8_t* columns,
    std::int64_t column_stride, std::int64_t depth, std::uint32_t (&sums)[2][64]) {
    const __m512i byte = _mm512_set1_epi16(255);
    __m512i even[2][2], odd[2][2];  // of each row, low and high bytes
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) even[i / 2][i % 2] = odd[i / 2][i % 2] = _mm512_setzero_si512();
    for (std::int64_t k = 0; k < depth; ++k) {
        const __m512i codes = _mm512_loadu_si512(columns + k * column_stride);
        const std::uint64_t top = _mm512_movepi8_mask(codes), next = _mm512_movepi8_mask(_mm512_slli_epi16(codes, 1));
#pragma GCC unroll 2
        for (int row = 0; row < 2; ++row)
#pragma GCC unroll 2
            for (int plane = 0; plane < 2; ++plane) {
                const std::uint8_t* const entries = planes + (2 * rows[row][k] + plane) * CODES;
                __m512i found = _mm512_permutexvar_epi8(codes, _mm512_loadu_si512(entries));
                found = _mm512_mask_permutexvar_epi8(found, ~top & next, codes, _mm512_loadu_si512(entries + 64));
                found = _mm512_mask_permutexvar_epi8(found, top & ~next, codes, _mm512_loadu_si512(entries + 128));
                found = _mm512_mask_permutexvar_epi8(found, top & next, codes, _mm512_loadu_si512(entries + 192));
                even[row][plane] = _mm512_add_epi16(even[row][plane], _mm512_and_si512(found, byte));
                odd[row][plane] = _mm512_add_epi16(odd[row][plane], _mm512_srli_epi16(found, 8));
            }
    }
    for (int row = 0; row < 2; ++row)
        for (int plane = 0; plane < 2; ++plane) {
            std::uint16_t halves[2][32];
            _mm512_storeu_si512(halves[0], even[row][plane]);
            _mm512_storeu_si512(halves[1], odd[row][plane]);
            for (int n = 0; n < 64; ++n) sums[row][n] += static_cast<std::uint32_t>(halves[n % 2][n / 2]) << 8 * plane;
        }
}

void by_permutes(const Problem& p, int threads) {
    constexpr std::int64_t DEEP = 256;
    std::vector<std::uint8_t> planes(2 * CODES * CODES);  // [row code][low, high bytes][column code]
    for (int row = 0; row < CODES; ++row)
        for (int column = 0; column < CODES; ++column)
            for (int plane = 0; plane < 2; ++plane)
                planes[(2 * row + plane) * CODES + column] =
                    static_cast<std::uint8_t>(p.table[row * CODES + column] >> 8 * plane);
    const std::int64_t blocks = (p.N + 63) / 64;
#pragma omp parallel for num_threads(threads)
    for (std::int64_t block = 0; block < blocks; ++block) {
        const std::int64_t left = 64 * block, count = std::min<std::int64_t>(64, p.N - left);
        std::vector<std::uint8_t> columns(p.K * 64);
        for (std::int64_t k = 0; k < p.K; ++k) std::copy_n(p.columns + k * p.N + left, count, columns.data() + k * 64);
        for (std::int64_t m = 0; m < p.M; m += 2) {
            const std::int64_t height = std::min<std::int64_t>(2, p.M - m);
            std::uint32_t sums[2][64];
            std::fill_n(sums[0], 128, p.start);
            for (std::int64_t k = 0; k < p.K; k += DEEP) {
                const std::uint8_t* const rows[2] = {p.rows + m * p.K + k, p.rows + (m + height - 1) * p.K + k};
                add_permuted(rows, planes.data(), columns.data() + k * 64, 64, std::min(DEEP, p.K - k), sums);
            }
            for (std::int64_t i = 0; i < height; ++i)
                for (std::int64_t n = 0; n < count; ++n)
                    p.out[(m + i) * p.row_stride + (left + n) * p.column_stride] = sums[i][n];
        }
    }
}

#endif

template <class Code>
void to_bytes(const void* codes, std::int64_t low, std::int64_t entries, std::int64_t count, std::uint8_t* bytes) {
    const auto typed = static_cast<const Code*>(codes);
    if (sizeof(Code) == 1 && entries == CODES && low == std::numeric_limits<Code>::min()) {  // no code is outside
        for (std::int64_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(typed[i] - low);
        return;
    }
    for (std::int64_t i = 0; i < count; ++i)
        bytes[i] = static_cast<std::uint8_t>(std::clamp<std::int64_t>(typed[i], low, low + entries - 1) - low);
}

std::vector<std::uint8_t> bytes_of(const void* codes, int type, std::int64_t low, std::int64_t entries,
                                   std::int64_t count) {
    std::vector<std::uint8_t> bytes(count);
    with_integer(type, [&](auto zero) { to_bytes<decltype(zero)>(codes, low, entries, count, bytes.data()); });
    return bytes;
}

template <class Word>
std::vector<Word> transposed(const Word* words, std::int64_t rows, std::int64_t columns) {
    std::vector<Word> result(rows * columns);
    Word* const turned = result.data();
    for (std::int64_t top = 0; top < rows; top += 64)
        for (std::int64_t column = 0; column < columns; ++column)
            for (std::int64_t row = top; row < std::min(top + 64, rows); ++row)
                turned[column * rows + row] = words[row * columns + column];
    return result;
}

// ns a product by each way here, as measured above; PERMUTED as published of such a kernel on a Sapphire Rapids core.
// What a call costs beside other kernels is in hwlut/ops/approx_cost.py.
constexpr double PLAIN = 0.5, ADDED = 0.055, BUILT = 0.09, PERMUTED = 0.066;

double cost_by_rows(std::int64_t M, std::int64_t N) {
    return static_cast<double>((N + 15) / 16 * 16) * (ADDED * static_cast<double>(M) + BUILT * CODES);
}

double cost_by_permutes(std::int64_t M, std::int64_t N) {
    return PERMUTED * static_cast<double>(M * ((N + 63) / 64 * 64));
}

}  // namespace

extern "C" void hwlut_approx_table(const void* a, int a_type, std::int64_t low_a, const void* b, int b_type,
                                   std::int64_t low_b, int shared_b, const std::int16_t* table, std::int64_t rows,
                                   std::int64_t columns, std::int64_t offset, std::int32_t* out, std::int64_t batch,
                                   std::int64_t M, std::int64_t K, std::int64_t N, int threads) {
    bool by_rows_wins = false, permutes = false;
#if defined(__x86_64__)
    const double added = std::min(cost_by_rows(M, N), cost_by_rows(N, M));
    const double permuted = std::min(cost_by_permutes(M, N), cost_by_permutes(N, M));
    const double looked_up = PLAIN * static_cast<double>(M * N);
    permutes = __builtin_cpu_supports("avx512vbmi") && permuted < std::min(added, looked_up);
    by_rows_wins = __builtin_cpu_supports("avx2") && !permutes && added < looked_up;
#endif
    bool turned = M > N && batch * M * K * N > CODES * CODES;  // out^T = b^T a^T, worth turning the table for
    if (by_rows_wins) turned = cost_by_rows(N, M) < cost_by_rows(M, N);
    if (permutes) turned = cost_by_permutes(N, M) < cost_by_permutes(M, N);
    const auto lowest = *std::min_element(table, table + rows * columns);
    const auto highest = *std::max_element(table, table + rows * columns);
    std::vector<std::uint16_t> entries(CODES * CODES);
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < columns; ++column)
            entries[row * CODES + column] = static_cast<std::uint16_t>(table[row * columns + column] - lowest);
    if (turned != by_rows_wins) entries = transposed(entries.data(), CODES, CODES);
    const auto a_codes = bytes_of(a, a_type, low_a, rows, batch * M * K);
    const auto b_codes = bytes_of(b, b_type, low_b, columns, (shared_b ? 1 : batch) * K * N);
    const auto start = static_cast<std::uint32_t>(static_cast<std::uint64_t>(K) * (offset + lowest));
    if (batch * M * K * N < ALONE) threads = 1;
    const int outer = batch > 1 ? threads : 1, inner = batch > 1 ? 1 : threads;
#pragma omp parallel for num_threads(outer) schedule(dynamic)
    for (std::int64_t z = 0; z < batch; ++z) {
        const std::uint8_t* const left = a_codes.data() + z * M * K;
        const std::uint8_t* const right = b_codes.data() + (shared_b ? 0 : z) * K * N;
        const auto sums = reinterpret_cast<std::uint32_t*>(out) + z * M * N;
        const bool pairs = 2 * (highest - lowest) < 1 << 16;
        Problem p{left, right, entries.data(), pairs, M, K, N, start, sums, N, 1};
        std::vector<std::uint8_t> left_turned, right_turned;
        if (turned) {
            left_turned = transposed(left, M, K);
            right_turned = transposed(right, K, N);
            p = {right_turned.data(), left_turned.data(), entries.data(), pairs, N, K, M, start, sums, 1, N};
        }
#if defined(__x86_64__)
        if (by_rows_wins) {
            by_rows(p, inner);
            continue;
        }
        if (permutes) {
            by_permutes(p, inner);
            continue;
        }
#endif
        plain(p, inner);
    }
}
