// Encoders of look-up products: sub-vectors of input codes to indices of prototypes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "lut_paths.h"

enum Kind { TREE, L2, L1, CHEBYSHEV };

struct Encoder {
    int kind;
    const std::int8_t* points;       // prototypes [codebooks][k][v], or thresholds [codebooks][k - 1] of a tree
    const std::int32_t* dimensions;  // [codebooks][depth] of a tree
    std::int64_t features, v, codebooks, k;
    int zero_point;

    int depth() const { return __builtin_ctzll(k); }
    std::int64_t dimension(std::int64_t c, int level) const {
        return std::clamp<std::int64_t>(dimensions[c * depth() + level], 0, v - 1);
    }
};

// One row at a time, prototypes side by side.
class RowEncoder {
  public:
    RowEncoder(const Encoder& encoder, Path path) : e_(encoder), path_(path) {
        const std::int64_t most = std::numeric_limits<std::int32_t>::max();
        held_ = std::max<std::int64_t>(e_.k, LANES);
        pairs_ = path_ != Path::PLAIN && e_.kind == L2 && held_ * (e_.v * 255 * 255 + 1) <= most;
        if (pairs_) prepare_pairs();
        else if (e_.kind != TREE) prepare();
    }

    // Indices [rows][codebooks] of codes [rows][features].
    void operator()(const std::int8_t* codes, std::int64_t rows, std::uint8_t* indices) const {
        const std::int64_t width = e_.codebooks * e_.v;
        std::vector<std::int8_t> row(width, static_cast<std::int8_t>(e_.zero_point));
        std::vector<std::int16_t> wide(pairs_ ? width + 1 : 0);
        for (std::int64_t n = 0; n < rows; ++n, codes += e_.features, indices += e_.codebooks) {
            std::copy_n(codes, e_.features, row.data());
#if defined(__x86_64__)
            if (pairs_) {
                std::copy_n(row.data(), width, wide.data());
                by_pairs(wide.data(), indices);
                continue;
            }
            if (path_ != Path::PLAIN) {
                avx2(row.data(), indices);
                continue;
            }
#endif
            any(row.data(), indices);
        }
    }

  private:
    static constexpr std::int64_t LANES = 8;

    void prepare() {
        turned_.resize(e_.codebooks * e_.v * e_.k);
        for (std::int64_t c = 0; c < e_.codebooks; ++c)
            for (std::int64_t k = 0; k < e_.k; ++k)
                for (std::int64_t i = 0; i < e_.v; ++i)
                    turned_[(c * e_.v + i) * e_.k + k] = e_.points[(c * e_.k + k) * e_.v + i];
    }

    // Prototypes as pairs of numbers, and of each |p|^2 k + its index: with -2 k x.p, the rank of its distance. Beyond
    // the last they are the last again, which is found first.
    void prepare_pairs() {
        const std::int64_t pairs = (e_.v + 1) / 2;
        turned_.resize(e_.codebooks * pairs * held_ * 2);
        starts_.resize(e_.codebooks * held_);
        for (std::int64_t c = 0; c < e_.codebooks; ++c)
            for (std::int64_t k = 0; k < held_; ++k) {
                const std::int8_t* const point = e_.points + (c * e_.k + std::min(k, e_.k - 1)) * e_.v;
                std::int32_t square = 0;
                for (std::int64_t i = 0; i < e_.v; ++i) {
                    turned_[((c * pairs + i / 2) * held_ + k) * 2 + i % 2] = point[i];
                    square += point[i] * point[i];
                }
                starts_[c * held_ + k] = static_cast<std::int32_t>(square * held_ + k);
            }
    }

#if defined(__x86_64__)
    AVX2 void avx2(const std::int8_t* row, std::uint8_t* indices) const { any(row, indices); }

    AVX2 void by_pairs(const std::int16_t* row, std::uint8_t* indices) const {
        const std::int64_t pairs = (e_.v + 1) / 2, held = held_;
        const __m128i shift = _mm_cvtsi32_si128(__builtin_ctzll(held) + 1);
        for (std::int64_t c = 0; c < e_.codebooks; ++c) {
            const std::int16_t* const x = row + c * e_.v;
            __m256i least = _mm256_set1_epi32(std::numeric_limits<std::int32_t>::max());
            for (std::int64_t k = 0; k < held; k += LANES) {
                const std::int16_t* p = turned_.data() + (c * pairs * held + k) * 2;
                __m256i products = _mm256_setzero_si256();
                for (std::int64_t i = 0; i < pairs; ++i, p += 2 * held) {
                    std::int32_t two;
                    std::memcpy(&two, x + 2 * i, sizeof two);
                    const __m256i pair = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
                    products = _mm256_add_epi32(products, _mm256_madd_epi16(pair, _mm256_set1_epi32(two)));
                }
                const auto start = reinterpret_cast<const __m256i*>(&starts_[c * held + k]);
                const __m256i rank = _mm256_sub_epi32(_mm256_loadu_si256(start), _mm256_sll_epi32(products, shift));
                least = _mm256_min_epi32(least, rank);
            }
            __m128i four = _mm_min_epi32(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
            four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0x4e));
            four = _mm_min_epi32(four, _mm_shuffle_epi32(four, 0xb1));
            indices[c] = static_cast<std::uint8_t>(_mm_cvtsi128_si32(four) & (held - 1));
        }
    }
#endif

    INLINE void any(const std::int8_t* row, std::uint8_t* indices) const {
        switch (e_.kind) {
            case TREE: return leaves(row, indices);
            case L2: return nearest<L2>(row, indices);
            case L1: return nearest<L1>(row, indices);
            case CHEBYSHEV: return nearest<CHEBYSHEV>(row, indices);
        }
    }

    INLINE void leaves(const std::int8_t* row, std::uint8_t* indices) const {
        for (std::int64_t c = 0; c < e_.codebooks; ++c) {
            const std::int8_t* const thresholds = e_.points + c * (e_.k - 1);
            std::int64_t node = 0;
            for (int level = 0; level < e_.depth(); ++level)
                node = 2 * node + 1 + (row[c * e_.v + e_.dimension(c, level)] >= thresholds[node]);
            indices[c] = static_cast<std::uint8_t>(node - (e_.k - 1));
        }
    }

    template <int KIND>
    INLINE void nearest(const std::int8_t* row, std::uint8_t* indices) const {
        const std::int16_t* prototypes = turned_.data();
        for (std::int64_t c = 0; c < e_.codebooks; ++c) {
            std::int32_t distances[256] = {};
            for (std::int64_t i = 0; i < e_.v; ++i, prototypes += e_.k)
                for (std::int64_t k = 0; k < e_.k; ++k) {
                    const std::int32_t away = row[c * e_.v + i] - prototypes[k], size = away < 0 ? -away : away;
                    if (KIND == L2) distances[k] += away * away;
                    if (KIND == L1) distances[k] += size;
                    if (KIND == CHEBYSHEV) distances[k] = std::max(distances[k], size);
                }
            indices[c] = static_cast<std::uint8_t>(std::min_element(distances, distances + e_.k) - distances);
        }
    }

    Encoder e_;
    Path path_;
    std::int64_t held_ = 0;              // prototypes
    bool pairs_ = false;
    std::vector<std::int16_t> turned_;   // [codebooks][v][k], or by pairs [codebooks][ceil(v / 2)][held][2]
    std::vector<std::int32_t> starts_;   // [codebooks][held]
};

#if defined(__x86_64__)
#include "lut_transpose.h"

// 64 rows at a time, a lane a row. Indices are words of four codebooks, the first lowest: [ceil(codebooks / 4)][64].
class LaneEncoder {
  public:
    static constexpr std::int64_t ROWS = 64;

    explicit LaneEncoder(const Encoder& encoder) : e_(encoder) {
        e_.kind == TREE ? prepare_tree() : prepare_distances();
    }

    // `pattern` is added to every word. Rows beyond `rows`, 1 to 64, are those of the last.
    void operator()(const std::int8_t* codes, std::int64_t rows, std::uint32_t pattern, std::uint32_t* indices) const {
        const std::int8_t* lines[ROWS];
        for (std::int64_t n = 0; n < ROWS; ++n) lines[n] = codes + std::min(n, rows - 1) * e_.features;
        std::vector<Line> held(held_);
        for (std::int64_t c = 0; c < e_.codebooks; c += CHUNK)
            (this->*encode_)(lines, rows, c, pattern, reinterpret_cast<__m512i*>(held.data()), indices);
    }

  private:
    static constexpr std::int64_t CHUNK = 16;  // codebooks: whole vectors of words, however many words each has
    static constexpr int COUNT = 4;           // prototypes at once

    // Indices of the codebooks from `first` on, of 64 lines; `held` is room for vectors.
    using Encode = void (LaneEncoder::*)(const std::int8_t* const* lines, std::int64_t rows, std::int64_t first,
                                         std::uint32_t pattern, __m512i* held, std::uint32_t* indices) const;

    // Where the bytes of 16 words of a row come from: `places` among the 64 from `offset` on, zeros where not `used`.
    struct Selection {
        std::uint8_t places[64];
        std::uint64_t used;
        std::int64_t offset;
    };

    // words[j] = word j of 16 rows, its bytes selected from those from `start` on, and changed by `flip`.
    AVX512 INLINE void stage(const std::int8_t* const* lines, std::int64_t start, const Selection& selection,
                             __m512i flip, __m512i* words) const {
        const std::int64_t from = std::min(start + selection.offset, e_.features), left = e_.features - from;
        const __mmask64 inside = left >= 64 ? ~0ull : (1ull << left) - 1;
        const __m512i zero = _mm512_set1_epi8(static_cast<char>(e_.zero_point));
        const __m512i places = _mm512_loadu_si512(selection.places);
        __m512i x[16];
#pragma GCC unroll 16
        for (int n = 0; n < 16; ++n)
            x[n] = _mm512_maskz_permutexvar_epi8(selection.used, places,
                                                 _mm512_mask_loadu_epi8(zero, inside, lines[n] + from));
        transpose_words(x);
#pragma GCC unroll 16
        for (int j = 0; j < 16; ++j) _mm512_store_si512(words + j, _mm512_xor_si512(x[j], flip));
    }

    void prepare_tree() {
        spans_ = (CHUNK * e_.v + 63) / 64;
        held_ = spans_ * 64;
        encode_ = &LaneEncoder::leaves;
        points_.assign(e_.points, e_.points + e_.codebooks * (e_.k - 1));
        points_.resize(points_.size() + 128);  // what loads beyond the last threshold find
        for (std::int64_t c = 0; c < e_.codebooks; ++c)
            for (int level = 0; level < e_.depth(); ++level)
                columns_.push_back(c % CHUNK * e_.v + e_.dimension(c, level));
    }

    // Columns of 64 rows, so that a level is a comparison with the thresholds that a permute finds.
    AVX512 void leaves(const std::int8_t* const* lines, std::int64_t, std::int64_t first, std::uint32_t pattern,
                       __m512i* columns, std::uint32_t* indices) const {
        Selection all{{}, ~0ull, 0};
        for (int i = 0; i < 64; ++i) all.places[i] = static_cast<std::uint8_t>(i);
        for (std::int64_t span = 0; span < spans_; ++span) {
            alignas(64) __m512i words[4][16];
            for (int part = 0; part < 4; ++part)
                stage(lines + 16 * part, first * e_.v + 64 * span, all, _mm512_setzero_si512(), words[part]);
            for (int j = 0; j < 16; ++j) {
                __m512i bytes[4] = {words[0][j], words[1][j], words[2][j], words[3][j]};
                split_words_mixed(bytes);
                for (int b = 0; b < 4; ++b) columns[64 * span + 4 * j + b] = bytes[b];
            }
        }
        const std::int64_t last = std::min(first + CHUNK, e_.codebooks);
        for (std::int64_t c = first; c < last; c += 4) {
            __m512i found[4];
            for (int j = 0; j < 4; ++j)
                found[j] = c + j < last ? leaf(columns, c + j) : _mm512_setzero_si512();
            join_bytes(found);
            for (int part = 0; part < 4; ++part)
                _mm512_storeu_si512(indices + c / 4 * ROWS + 16 * part,
                                    _mm512_add_epi32(found[part], _mm512_set1_epi32(pattern)));
        }
    }

    AVX512 INLINE __m512i leaf(const __m512i* columns, std::int64_t c) const {
        const std::int64_t* const chosen = columns_.data() + c * e_.depth();
        const std::int8_t* thresholds = points_.data() + c * (e_.k - 1);
        __m512i place = _mm512_setzero_si512();  // among the nodes of a level
        for (int level = 0; level < e_.depth(); thresholds += 1ll << level++) {
            const __m512i low = _mm512_loadu_si512(thresholds);
            const __m512i threshold =
                level < 7 ? _mm512_permutexvar_epi8(place, low)
                          : _mm512_permutex2var_epi8(low, place, _mm512_loadu_si512(thresholds + 64));
            const __mmask64 right = _mm512_cmpge_epi8_mask(columns[chosen[level]], threshold);
            place = _mm512_add_epi8(place, place);
            place = _mm512_mask_add_epi8(place, right, place, _mm512_set1_epi8(1));
        }
        return place;
    }

    void prepare_distances() {
        const std::int64_t needed = (e_.v + 3) / 4;
        step_ = needed <= 4 ? needed : needed <= 6 ? 6 : 8;
        width_ = (needed + step_ - 1) / step_ * step_;
        k_ = std::max<std::int64_t>(e_.k, COUNT);
        ranked_ = e_.kind != L2 || k_ * (e_.v * 255 * 255 + 1) <= std::numeric_limits<std::int32_t>::max();
        held_ = width_ * 16;
        encode_ = e_.kind == L1 ? of_step<L1, true>() : e_.kind == CHEBYSHEV ? of_step<CHEBYSHEV, true>()
                  : ranked_     ? of_step<L2, true>() : of_step<L2, false>();
        select_words();
        words_.resize(e_.codebooks * k_ * width_);
        starts_.resize(e_.codebooks * k_);
        for (std::int64_t i = 0; i < e_.codebooks * k_; ++i) {
            const std::int64_t k = i % k_;  // beyond the last they are the last again, which is found first
            const std::int8_t* const point = e_.points + (i / k_ * e_.k + std::min(k, e_.k - 1)) * e_.v;
            std::memcpy(&words_[i * width_], point, e_.v);
            std::int64_t start = 0;  // of a squared distance less that of the sub-vector from 0
            if (e_.kind == L2)
                for (std::int64_t j = 0; j < e_.v; ++j) start += point[j] * point[j] + 256 * point[j];
            starts_[i] = static_cast<std::int32_t>(ranked_ ? start * k_ + k : start);
        }
    }

    void select_words() {
        selections_.resize(width_);
        for (std::int64_t j = 0; j < width_; ++j) {
            Selection& selection = selections_[j];
            selection.offset = 16 * j / width_ * e_.v + std::min(16 * j % width_ * 4, e_.v - 1);
            for (std::int64_t i = 0; i < 64; ++i) {
                const std::int64_t word = 16 * j + i / 4, byte = word % width_ * 4 + i % 4;
                if (byte >= e_.v) continue;
                selection.places[i] = static_cast<std::uint8_t>(word / width_ * e_.v + byte - selection.offset);
                selection.used |= 1ull << i;
            }
        }
    }

    template <int KIND, bool RANKED>
    Encode of_step() const {
        switch (step_) {
            case 1: return &LaneEncoder::nearest<KIND, RANKED, 1>;
            case 2: return &LaneEncoder::nearest<KIND, RANKED, 2>;
            case 3: return &LaneEncoder::nearest<KIND, RANKED, 3>;
            case 4: return &LaneEncoder::nearest<KIND, RANKED, 4>;
            case 6: return &LaneEncoder::nearest<KIND, RANKED, 6>;
            default: return &LaneEncoder::nearest<KIND, RANKED, 8>;
        }
    }

    template <int KIND, bool RANKED, int STEP>
    AVX512 void nearest(const std::int8_t* const* lines, std::int64_t rows, std::int64_t first, std::uint32_t pattern,
                        __m512i* words, std::uint32_t* indices) const {
        const std::int64_t last = std::min(first + CHUNK, e_.codebooks);
        const __m512i flip = _mm512_set1_epi8(KIND == L2 ? static_cast<char>(0x80) : 0);
        for (std::int64_t part = 0; part < rows; part += 16) {
            for (std::int64_t j = 0; j < width_; ++j)
                stage(lines + part, first * e_.v, selections_[j], flip, words + 16 * j);
            for (std::int64_t c = first; c < last; c += 4) {
                __m512i found = _mm512_set1_epi32(static_cast<int>(pattern));
                for (int j = 0; j < 4 && c + j < last; ++j) {
                    const __m512i index = index_of<KIND, RANKED, STEP>(words + (c + j - first) * width_, c + j);
                    found = _mm512_add_epi32(found, _mm512_sll_epi32(index, _mm_cvtsi32_si128(8 * j)));
                }
                _mm512_storeu_si512(indices + c / 4 * ROWS + part, found);
            }
        }
    }

    // Of 16 rows, `words` being those of their sub-vectors. RANKED: an index is the lower digit of a distance. L2 is
    // without the square of the sub-vector, the same for all; it takes its codes 128 more, as the instruction does.
    template <int KIND, bool RANKED, int STEP>
    AVX512 INLINE __m512i index_of(const __m512i* words, std::int64_t c) const {
        const std::int32_t* points = words_.data() + c * k_ * width_;
        const std::int32_t* const starts = starts_.data() + c * k_;
        const std::int64_t width = width_, count = k_;
        const int digits = (RANKED ? __builtin_ctzll(count) : 0) + (KIND == L2);
        const __m128i shift = _mm_cvtsi32_si128(digits);
        __m512i least = _mm512_set1_epi32(std::numeric_limits<std::int32_t>::max()), index = _mm512_setzero_si512();
        for (std::int64_t k = 0; k < count; k += COUNT, points += COUNT * width) {
            __m512i sums[COUNT];
#pragma GCC unroll 4
            for (int i = 0; i < COUNT; ++i) sums[i] = _mm512_setzero_si512();
            std::int64_t j = 0;
            do {
#pragma GCC unroll 8
                for (int step = 0; step < STEP; ++step)
#pragma GCC unroll 4
                    for (int i = 0; i < COUNT; ++i)
                        sums[i] = further<KIND>(sums[i], words[j + step],
                                                _mm512_set1_epi32(points[i * width + j + step]));
                j += STEP;
            } while (STEP == 8 && j < width);
#pragma GCC unroll 4
            for (int i = 0; i < COUNT; ++i) {
                if constexpr (KIND == CHEBYSHEV) {
                    sums[i] = _mm512_max_epu8(sums[i], _mm512_srli_epi32(sums[i], 16));
                    sums[i] = _mm512_max_epu8(sums[i], _mm512_srli_epi32(sums[i], 8));
                    sums[i] = _mm512_and_si512(sums[i], _mm512_set1_epi32(255));
                }
                const __m512i start = _mm512_set1_epi32(starts[k + i]), part = _mm512_sll_epi32(sums[i], shift);
                const __m512i rank = KIND == L2 ? _mm512_sub_epi32(start, part) : _mm512_add_epi32(start, part);
                if constexpr (!RANKED) {
                    const __mmask16 less = _mm512_cmplt_epi32_mask(rank, least);
                    index = _mm512_mask_mov_epi32(index, less, _mm512_set1_epi32(static_cast<int>(k + i)));
                }
                least = _mm512_min_epi32(least, rank);
            }
        }
        return RANKED ? _mm512_and_si512(least, _mm512_set1_epi32(static_cast<int>(count - 1))) : index;
    }

    // Distances, or for L2 products, with those of one word more: of sub-vectors x and a prototype p.
    template <int KIND>
    AVX512 static INLINE __m512i further(__m512i sums, __m512i x, __m512i p) {
        if constexpr (KIND == L2) return _mm512_dpbusd_epi32(sums, x, p);
        const __m512i away = _mm512_sub_epi8(_mm512_max_epi8(x, p), _mm512_min_epi8(x, p));
        return KIND == L1 ? _mm512_dpbusd_epi32(sums, away, _mm512_set1_epi8(1)) : _mm512_max_epu8(sums, away);
    }

    Encoder e_;
    Encode encode_ = nullptr;
    std::int64_t held_ = 0;              // vectors
    std::int64_t spans_ = 0;             // of 64 columns, in a chunk
    std::vector<std::int8_t> points_;    // thresholds, and what follows
    std::vector<std::int64_t> columns_;  // [codebooks][depth], in a chunk
    std::int64_t step_ = 0, width_ = 0;  // words at once, and words of a sub-vector, a multiple
    std::int64_t k_ = 0;                 // prototypes held
    std::vector<Selection> selections_;  // [width]
    bool ranked_ = false;
    std::vector<std::int32_t> words_, starts_;  // of prototypes, [codebooks][k][width] and [codebooks][k]
};

#endif
