// Work on long arrays, in blocks that threads take in turn.
#pragma once
#include <algorithm>
#include <cstdint>

constexpr std::int64_t BLOCK = 32768;  // elements a thread takes at once; fewer stay on one thread

// `run` is called with the start and the size of each block.
template <class Run>
void in_blocks(std::int64_t count, int threads, Run run) {
#pragma omp parallel for num_threads(threads) if (count > BLOCK)
    for (std::int64_t start = 0; start < count; start += BLOCK) run(start, std::min(BLOCK, count - start));
}
