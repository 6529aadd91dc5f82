// Arrays whose values share numbers in groups: element i belongs to group i / inner % groups.
#pragma once
#include <algorithm>
#include <cstdint>

#include "blocks.h"

struct Groups {
    std::int64_t groups, inner, count;  // count is a multiple of groups * inner

    // Whether neighbours belong to neighbouring groups, so that their numbers are as contiguous as they are.
    bool each() const { return inner == 1 && groups > 1; }

    // `run` is called with stretches of [start, start + size): where they start, their size, and the group of the first.
    // Others are of the same group or, of each(), of the groups that follow.
    template <class Run>
    void stretches(std::int64_t start, std::int64_t size, Run run) const {
        const std::int64_t length = each() ? groups : inner;
        for (std::int64_t place = start; place < start + size;) {
            const std::int64_t stretch = std::min(start + size, (place / length + 1) * length) - place;
            run(place, stretch, place / inner % groups);
            place += stretch;
        }
    }

    // A reduction of each group: `run` is called with the start, the size and the row of results of each chunk, and rows
    // are to be combined afterwards. With one row, chunks share no group.
    template <class Run>
    void reduced(std::int64_t rows, int threads, Run run) const {
        if (!count) return;
        const std::int64_t whole = std::max<std::int64_t>(1, BLOCK / inner) * inner;
        const std::int64_t chunk = rows > 1 ? (count - 1) / rows + 1 : whole;
#pragma omp parallel for num_threads(threads) if (count > BLOCK)
        for (std::int64_t start = 0; start < count; start += chunk)
            run(start, std::min(chunk, count - start), rows > 1 ? start / chunk : 0);
    }
};
