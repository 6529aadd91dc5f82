// Matrix product by factors:
//   out[z][m][n] = q[z][n] + sum over k of p[i] + sum over k and t of u[i][t] * v[z][k][t][n], i = a[z][m][k] - low.
//
// Contract: a is [batch][M][K] of `a_type` (integers.h); u is [entries][terms] of int16, p [entries] of int32 or null,
// entries and terms >= 1; v is [batch][panels][pairs][16][2] of int16, or without the batch where `shared`: the value
// of term t at (k, n) is v[n / 16][j / 2][n % 16][j % 2] with j = k * terms + t, zeros beyond; panels = ceil(N / 16),
// pairs = ceil(K * terms / 2); q is [batch][N] of int32, or [N] where `shared`; out is [batch][M][N] of int32. All are
// contiguous and do not overlap; a code outside the table is held to its nearer end; threads >= 1. Sums are taken
// modulo 2^32: exact where they fit int32.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared approx_factors.cpp
//
// Why this version: one thread of an AMD EPYC (Zen 3, AVX2), 256 x 512 x 512, one term, ns a product: tiles of 4 x 16
// 0.0136, 6 x 16 0.0137, 3 x 32 0.015, 2 x 32 0.020; with sums that start from the output instead of zero, gcc copies
// registers: 0.016 to 0.026. torch's float product takes 0.025. The AVX-512 VNNI part has not run on such a processor.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "integers.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int PANEL = 16;            // columns of a panel of v
constexpr std::int64_t CHUNK = 512;  // factors of a row in the cache together: a panel's share is 16 KB
constexpr std::int64_t BLOCK = 96;   // rows expanded together
constexpr std::int64_t ALONE = 1 << 20;  // products that one thread computes sooner than several

// tile[i][0..15] = sum over the pairs of a[i] . panel; the rows of a are `stride` apart.
using Tile = void (*)(const std::int16_t* a, std::int64_t stride, const std::int16_t* panel, std::int64_t pairs,
                      std::uint32_t* tile);

template <int ROWS>
void tile_plain(const std::int16_t* a, std::int64_t stride, const std::int16_t* panel, std::int64_t pairs,
                std::uint32_t* tile) {
    std::uint32_t sums[ROWS * PANEL] = {};
    for (std::int64_t pair = 0; pair < pairs; ++pair, a += 2, panel += 2 * PANEL)
        for (int i = 0; i < ROWS; ++i)
            for (int n = 0; n < PANEL; ++n)
                sums[i * PANEL + n] += static_cast<std::uint32_t>(a[i * stride] * panel[2 * n]) +
                                       static_cast<std::uint32_t>(a[i * stride + 1] * panel[2 * n + 1]);
    std::copy_n(sums, ROWS * PANEL, tile);
}

#if defined(__x86_64__)

template <int ROWS>
__attribute__((target("avx2"))) void tile_avx2(
    const std::int16_t* a, std::int64_t stride, const std::int16_t* panel, std::int64_t pairs, std::uint32_t* tile) {
    typedef std::uint32_t Eight __attribute__((vector_size(32)));
    Eight sums[2 * ROWS] = {};
    for (std::int64_t pair = 0; pair < pairs; ++pair, a += 2, panel += 2 * PANEL) {
        const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel));
        const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + PANEL));
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            std::int32_t two;
            std::memcpy(&two, a + i * stride, 4);
            const __m256i row = _mm256_set1_epi32(two);
            sums[2 * i] += reinterpret_cast<Eight>(_mm256_madd_epi16(row, left));
            sums[2 * i + 1] += reinterpret_cast<Eight>(_mm256_madd_epi16(row, right));
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < 2 * ROWS; ++i) std::memcpy(tile + 8 * i, &sums[i], 32);
}

template <int ROWS>
__attribute__((target("avx512f,avx512vnni"))) void tile_vnni(
    const std::int16_t* a, std::int64_t stride, const std::int16_t* panel, std::int64_t pairs, std::uint32_t* tile) {
    __m512i sums[ROWS];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) sums[i] = _mm512_setzero_si512();
    for (std::int64_t pair = 0; pair < pairs; ++pair, a += 2, panel += 2 * PANEL) {
        const __m512i columns = _mm512_loadu_si512(panel);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            std::int32_t two;
            std::memcpy(&two, a + i * stride, 4);
            sums[i] = _mm512_dpwssd_epi32(sums[i], _mm512_set1_epi32(two), columns);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) _mm512_storeu_si512(tile + PANEL * i, sums[i]);
}

#endif

// Tiles of 1 to the most rows that the registers hold.
struct Tiles {
    std::vector<Tile> of_rows;

    std::int64_t most() const { return static_cast<std::int64_t>(of_rows.size()); }
};

template <int... I>
Tiles plain_tiles(std::integer_sequence<int, I...>) { return {{tile_plain<I + 1>...}}; }

#if defined(__x86_64__)
template <int... I>
Tiles avx2_tiles(std::integer_sequence<int, I...>) { return {{tile_avx2<I + 1>...}}; }

template <int... I>
Tiles vnni_tiles(std::integer_sequence<int, I...>) { return {{tile_vnni<I + 1>...}}; }
#endif

Tiles fastest() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni")) return vnni_tiles(std::make_integer_sequence<int, 12>());
    if (__builtin_cpu_supports("avx2")) return avx2_tiles(std::make_integer_sequence<int, 4>());
#endif
    return plain_tiles(std::make_integer_sequence<int, 4>());
}

// The factors and the row term of every code, found by its pattern where it is a byte and else by its place.
template <class Code>
class Factors {
  public:
    Factors(const std::int16_t* u, const std::int32_t* p, std::int64_t entries, std::int64_t terms, std::int64_t low)
        : terms_(terms), low_(low), high_(low + entries - 1),
          width_(terms == 1 ? 1 : terms == 2 ? 2 : terms <= 4 ? 4 : (terms + 7) / 8 * 8) {
        constexpr bool byte = sizeof(Code) == 1;
        const std::int64_t places = byte ? 256 : entries;
        u_.resize(places * width_);
        p_.resize(p ? places : 0);
        for (std::int64_t place = 0; place < places; ++place) {
            const std::int64_t entry =
                byte ? std::clamp<std::int64_t>(static_cast<Code>(place), low_, high_) - low_ : place;
            std::copy_n(u + entry * terms, terms, u_.data() + place * width_);
            if (p) p_[place] = static_cast<std::uint32_t>(p[entry]);
        }
    }

    // Writes `count` times `terms` factors, and up to seven values beyond.
    void expand(const Code* codes, std::int64_t count, std::int16_t* out) const {
        switch (width_) {
            case 1: return copy<1>(codes, count, out);
            case 2: return copy<2>(codes, count, out);
            case 4: return copy<4>(codes, count, out);
            default: return copy<8>(codes, count, out);
        }
    }

    std::uint32_t row_term(const Code* codes, std::int64_t count) const {
        std::uint32_t sum = 0;
        if (!p_.empty())
            for (std::int64_t k = 0; k < count; ++k) sum += p_[place(codes[k])];
        return sum;
    }

  private:
    std::int64_t place(Code code) const {
        if constexpr (sizeof(Code) == 1) return static_cast<std::uint8_t>(code);
        else return std::clamp<std::int64_t>(code, low_, high_) - low_;
    }

    template <int STEP>
    void copy(const Code* codes, std::int64_t count, std::int16_t* out) const {
        for (std::int64_t k = 0; k < count; ++k, out += terms_) {
            const std::int16_t* factors = u_.data() + place(codes[k]) * (STEP < 8 ? STEP : width_);
            std::memcpy(out, factors, 2 * STEP);
            if constexpr (STEP == 8)
                for (std::int64_t t = 8; t < terms_; t += 8) std::memcpy(out + t, factors + t, 16);
        }
    }

    std::int64_t terms_, low_, high_, width_;
    std::vector<std::int16_t> u_;
    std::vector<std::uint32_t> p_;
};

template <class Code>
void run(const Code* a, const Factors<Code>& factors, std::int64_t terms, const std::int16_t* v, bool shared,
         const std::uint32_t* q, std::uint32_t* out, std::int64_t batch, std::int64_t M, std::int64_t K, std::int64_t N,
         int threads) {
    if (batch * M * K * N * terms < ALONE) threads = 1;
    const Tiles tiles = fastest();
    const std::int64_t panels = (N + PANEL - 1) / PANEL, pairs = (K * terms + 1) / 2;
    const std::int64_t depth = std::max<std::int64_t>(CHUNK / terms / 2 * 2, 2);  // even, so that no pair is split
    const std::int64_t stride = depth * terms + 8;
    const std::int64_t blocks = (M + BLOCK - 1) / BLOCK;
    const std::int64_t parts = std::clamp<std::int64_t>(threads / std::max<std::int64_t>(batch * blocks, 1), 1, std::max<std::int64_t>(panels, 1));
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (std::int64_t task = 0; task < batch * blocks * parts; ++task) {
        const std::int64_t z = task / parts / blocks, top = task / parts % blocks * BLOCK;
        const std::int64_t rows = std::min(BLOCK, M - top);
        const std::int64_t first = task % parts * panels / parts, last = (task % parts + 1) * panels / parts;
        const std::int64_t left = first * PANEL, right = std::min(last * PANEL, N);
        const Code* const codes = a + (z * M + top) * K;
        std::uint32_t* const sums = out + (z * M + top) * N;
        const std::uint32_t* const column_terms = q + (shared ? 0 : z) * N;
        for (std::int64_t m = 0; m < rows; ++m) {
            const std::uint32_t row_term = factors.row_term(codes + m * K, K);
            for (std::int64_t n = left; n < right; ++n) sums[m * N + n] = row_term + column_terms[n];
        }
        std::vector<std::int16_t> expanded(rows * stride);
        for (std::int64_t start = 0; start < K; start += depth) {
            const std::int64_t count = std::min(depth, K - start);
            for (std::int64_t m = 0; m < rows; ++m) {
                factors.expand(codes + m * K + start, count, expanded.data() + m * stride);
                expanded[m * stride + count * terms] = 0;  // what an odd count is paired with
            }
            for (std::int64_t panel = first; panel < last; ++panel) {
                const std::int16_t* const columns =
                    v + (((shared ? 0 : z) * panels + panel) * pairs + start * terms / 2) * 2 * PANEL;
                const std::int64_t width = std::min<std::int64_t>(PANEL, N - panel * PANEL);
                for (std::int64_t m = 0; m < rows; m += tiles.most()) {
                    const std::int64_t height = std::min(tiles.most(), rows - m);
                    std::uint32_t tile[16 * PANEL];
                    tiles.of_rows[height - 1](expanded.data() + m * stride, stride, columns, (count * terms + 1) / 2,
                                              tile);
                    std::uint32_t* to = sums + m * N + panel * PANEL;
                    for (std::int64_t i = 0; i < height; ++i, to += N)
                        for (std::int64_t n = 0; n < width; ++n) to[n] += tile[i * PANEL + n];
                }
            }
        }
    }
}

}  // namespace

extern "C" void hwlut_approx_factors(const void* a, int a_type, std::int64_t low, const std::int16_t* u,
                                     const std::int32_t* p, std::int64_t entries, std::int64_t terms,
                                     const std::int16_t* v, int shared, const std::int32_t* q, std::int32_t* out,
                                     std::int64_t batch, std::int64_t M, std::int64_t K, std::int64_t N, int threads) {
    with_integer(a_type, [=](auto zero) {
        using Code = decltype(zero);
        const Factors<Code> factors(u, p, entries, terms, low);
        run(static_cast<const Code*>(a), factors, terms, v, shared != 0, reinterpret_cast<const std::uint32_t*>(q),
            reinterpret_cast<std::uint32_t*>(out), batch, M, K, N, threads);
    });
}
