// Integer sums to codes: out[i] = saturate(round((acc[i] + constant) * multiplier * 2^-shift) + zero, low, high), with
// the constant, multiplier and shift of the group of i.
//
// Contract: acc and out are contiguous, count of them, of the types `acc_type` and `out_type` (requantize.h), and do
// not overlap; element i belongs to group i / inner % groups. acc are integers, they and all acc + constant from
// -2^31 to 2^31 - 1. multipliers, shifts and constant have a number for each group, multipliers from 0, shifts from 0
// to 62; constant is taken modulo 2^32, and null for 0. low <= high are from -2^31 to 2^31 - 1 or from 0 to 2^32 - 1,
// and what out_type holds; |zero| <= 2^32; rounding is of the enum Rounding; count >= 0; threads >= 1.
//
// g++ -O3 -std=c++17 -fopenmp -fPIC -shared requantize.cpp
//
// Why this version: one loop serves all types, since others than int32 and float go through buffers in the nearest
// cache. The compiler makes its vectors; those of AVX-512, whose 64-bit lanes hold every other sum, are faster by hand:
// 5.5 thousand million sums a second, one thread of a Sapphire Rapids core, in its second-level cache, for 4.4. Where a
// group has few neighbours in memory, its numbers are laid out as elements are.
#include "requantize.h"

#include <type_traits>
#include <vector>

#include "groups.h"
#include "widest.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr std::int64_t CHUNK = 2048;   // elements in a buffer
constexpr std::int64_t SHORT = 32;     // neighbours of a group that are taken element by element
constexpr std::int64_t STRETCH = 512;  // elements for which numbers are laid out, at least

// Of the first group of a stretch.
struct Numbers {
    const std::int32_t *multipliers, *shifts;
    const std::uint32_t* constants;
};

template <bool EACH, bool EVEN, class Acc, class Out>
HWLUT_INLINE void scale(const Acc* __restrict acc, Numbers numbers, Codes codes, Out* __restrict out,
                        std::int64_t count) {
    const std::int32_t *__restrict multipliers = numbers.multipliers, *__restrict shifts = numbers.shifts;
    const std::uint32_t* __restrict constants = numbers.constants;
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t j = EACH ? i : 0;
        const auto given = static_cast<std::uint32_t>(static_cast<std::int32_t>(acc[i]));
        const auto sum = static_cast<std::int32_t>(given + constants[j]);
        const std::int64_t code = requantized<EVEN>(sum, multipliers[j], shifts[j], codes);
        out[i] = static_cast<Out>(static_cast<std::int32_t>(code));
    }
}

template <class From, class To>
HWLUT_INLINE void convert(const From* __restrict from, To* __restrict to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
}

#if defined(__x86_64__)

#define AVX512 __attribute__((target("avx512f,avx512dq")))

// `requantized` of the lower halves of eight lanes.
template <bool EVEN>
AVX512 HWLUT_INLINE __m512i eight(__m512i sums, __m512i multipliers, __m512i shifts, Codes codes) {
    const __m512i product = _mm512_mul_epi32(sums, multipliers);
    __m512i power = _mm512_sllv_epi64(_mm512_set1_epi64(codes.once), shifts);
    if (EVEN) {
        const __m512i below = _mm512_srlv_epi64(product, shifts);
        power = _mm512_sub_epi64(power, _mm512_andnot_si512(below, _mm512_set1_epi64(1)));
    }
    const __m512i rounded = _mm512_srav_epi64(_mm512_add_epi64(product, _mm512_srli_epi64(power, 1)), shifts);
    const __m512i result = _mm512_add_epi64(rounded, _mm512_set1_epi64(codes.zero));
    return _mm512_min_epi64(_mm512_max_epi64(result, _mm512_set1_epi64(codes.low)), _mm512_set1_epi64(codes.high));
}

// Every other of 16 numbers, in the lower halves of lanes.
struct Sixteen {
    __m512i even, odd;
};

AVX512 HWLUT_INLINE Sixteen apart(__m512i numbers) { return {numbers, _mm512_srli_epi64(numbers, 32)}; }

template <bool EACH, bool EVEN, class Acc, class Out>
AVX512 HWLUT_INLINE void scale_sixteens(const Acc* acc, Numbers numbers, Codes codes, Out* out, std::int64_t count) {
    const __m512i lower = _mm512_set1_epi64(0xffffffff);
    __m512i multipliers = _mm512_set1_epi32(*numbers.multipliers), shifts = _mm512_set1_epi32(*numbers.shifts);
    __m512i constants = _mm512_set1_epi32(static_cast<std::int32_t>(*numbers.constants));
    for (std::int64_t i = 0; i < count; i += 16) {
        const auto inside = static_cast<__mmask16>(count - i < 16 ? (1 << (count - i)) - 1 : 0xffff);
        if (EACH) {
            multipliers = _mm512_maskz_loadu_epi32(inside, numbers.multipliers + i);
            shifts = _mm512_maskz_loadu_epi32(inside, numbers.shifts + i);
            constants = _mm512_maskz_loadu_epi32(inside, numbers.constants + i);
        }
        const Sixteen m = apart(multipliers), s = apart(shifts);
        __m512i given;
        if constexpr (std::is_same_v<Acc, float>) given = _mm512_cvttps_epi32(_mm512_maskz_loadu_ps(inside, acc + i));
        else given = _mm512_maskz_loadu_epi32(inside, acc + i);
        const Sixteen sums = apart(_mm512_add_epi32(given, constants));
        const __m512i even = eight<EVEN>(sums.even, m.even, _mm512_and_si512(s.even, lower), codes);
        const __m512i odd = eight<EVEN>(sums.odd, m.odd, s.odd, codes);
        const __m512i all = _mm512_mask_shuffle_epi32(even, 0xaaaa, odd, _MM_PERM_CCAA);
        if constexpr (std::is_same_v<Out, float>) _mm512_mask_storeu_ps(out + i, inside, _mm512_cvtepi32_ps(all));
        else _mm512_mask_storeu_epi32(out + i, inside, all);
    }
}

#endif

using Word = std::int32_t;  // or a float, told by Way

struct Way {
    bool from_float, to_float;
};

using Scale = void (*)(const Word* acc, Numbers numbers, Way way, Codes codes, Word* out, std::int64_t count);

// The steps of a pass, for one instruction set.
struct Steps {
    void (*load)(const void* acc, int type, std::int64_t place, std::int32_t* sums, std::int64_t count);
    void (*store)(const std::int32_t* codes, bool wide, void* out, int type, std::int64_t place, std::int64_t count);
    Scale scale[2][2];  // by whether neighbours have each their own numbers, and whether halves go to even ones
};

#define STEPS(NAME, TARGET, SCALE)                                                                                     \
    TARGET void load_##NAME(const void* acc, int type, std::int64_t place, std::int32_t* sums, std::int64_t count) {   \
        with_number(type, [=](auto zero) __attribute__((always_inline)) {                                              \
            convert(static_cast<const decltype(zero)*>(acc) + place, sums, count);                                     \
        });                                                                                                            \
    }                                                                                                                  \
    template <bool EACH, bool EVEN>                                                                                    \
    TARGET void scale_##NAME(const Word* acc, Numbers numbers, Way way, Codes codes, Word* out, std::int64_t count) {  \
        const auto from = reinterpret_cast<const float*>(acc);                                                         \
        const auto to = reinterpret_cast<float*>(out);                                                                 \
        if (way.from_float)                                                                                            \
            way.to_float ? SCALE<EACH, EVEN>(from, numbers, codes, to, count)                                          \
                         : SCALE<EACH, EVEN>(from, numbers, codes, out, count);                                        \
        else                                                                                                           \
            way.to_float ? SCALE<EACH, EVEN>(acc, numbers, codes, to, count)                                           \
                         : SCALE<EACH, EVEN>(acc, numbers, codes, out, count);                                         \
    }                                                                                                                  \
    TARGET void store_##NAME(const std::int32_t* codes, bool wide, void* out, int type, std::int64_t place,            \
                             std::int64_t count) {                                                                     \
        with_number(type, [=](auto zero) __attribute__((always_inline)) {                                              \
            const auto to = static_cast<decltype(zero)*>(out) + place;                                                 \
            wide ? convert(reinterpret_cast<const std::uint32_t*>(codes), to, count) : convert(codes, to, count);      \
        });                                                                                                            \
    }                                                                                                                  \
    constexpr Steps NAME{load_##NAME, store_##NAME,                                                                    \
                         {{scale_##NAME<false, false>, scale_##NAME<false, true>},                                     \
                          {scale_##NAME<true, false>, scale_##NAME<true, true>}}};

STEPS(plain, , scale)
#if defined(__x86_64__)
STEPS(avx2, __attribute__((target("avx2"))), scale)
STEPS(avx512, AVX512, scale_sixteens)
#else
constexpr auto avx2 = plain, avx512 = plain;
#endif

// How numbers are laid out: as groups are, or for each element of some groups, which begin anew in memory after those.
Groups laid_out(Groups given) {
    const std::int64_t period = given.groups * given.inner;
    if (given.groups == 1 || given.inner >= SHORT || period > BLOCK) return given;
    return {std::max<std::int64_t>(1, STRETCH / period) * period, 1, given.count};
}

class Table {
  public:
    Table(const std::int32_t* multiplier, const std::int32_t* shift, const std::int32_t* constant, Groups given)
        : grouped(laid_out(given)) {
        const std::int64_t each = grouped.inner == given.inner ? 1 : given.inner;
        for (std::int64_t place = 0, group = 0; place < grouped.groups; place += each) {
            std::fill_n(&multipliers[place], each, multiplier[group]);
            std::fill_n(&shifts[place], each, shift[group]);
            if (constant) std::fill_n(&constants[place], each, static_cast<std::uint32_t>(constant[group]));
            if (++group == given.groups) group = 0;
        }
    }

    Numbers from(std::int64_t group) const { return {&multipliers[group], &shifts[group], &constants[group]}; }

    const Groups grouped;

  private:
    std::vector<std::int32_t> multipliers = std::vector<std::int32_t>(grouped.groups), shifts = multipliers;
    std::vector<std::uint32_t> constants = std::vector<std::uint32_t>(grouped.groups);
};

}  // namespace

extern "C" void hwlut_requantize(const void* acc, int acc_type, const std::int32_t* multipliers,
                                 const std::int32_t* shifts, const std::int32_t* constant, std::int64_t zero,
                                 std::int64_t low, std::int64_t high, int rounding, void* out, int out_type,
                                 std::int64_t groups, std::int64_t inner, std::int64_t count, int threads) {
    if (!count) return;
    const Table table(multipliers, shifts, constant, {groups, inner, count});
    const Steps steps = widest(plain, avx2, avx512);
    const Codes codes = codes_of(zero, low, high, rounding);
    const Way way{acc_type == 32, out_type == 32};
    const bool loads = acc_type != 4 && !way.from_float, stores = out_type != 4 && !way.to_float;
    const auto scale = steps.scale[table.grouped.each()][rounding == HALF_EVEN];
    in_blocks(count, threads, [&](std::int64_t start, std::int64_t size) {
        Word loaded[CHUNK], scaled[CHUNK];
        for (std::int64_t first = start; first < start + size; first += CHUNK) {
            const std::int64_t chunk = std::min(CHUNK, start + size - first);
            if (loads) steps.load(acc, acc_type, first, loaded, chunk);
            const Word* const sums = loads ? loaded : static_cast<const Word*>(acc) + first;
            Word* const results = stores ? scaled : static_cast<Word*>(out) + first;
            table.grouped.stretches(first, chunk, [&](std::int64_t place, std::int64_t length, std::int64_t group) {
                scale(sums + place - first, table.from(group), way, codes, results + place - first, length);
            });
            if (stores) steps.store(results, high > INT32_MAX, out, out_type, first, chunk);
        }
    });
}
