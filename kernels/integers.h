// Integer types as the C interfaces name them: the size in bytes, negative where unsigned.
// `run` is called with a zero of the type named; an unknown name calls nothing.
#pragma once
#include <cstdint>

template <class Run>
void with_integer(int type, Run&& run) {
    switch (type) {
        case -1: return run(std::uint8_t{});
        case 1: return run(std::int8_t{});
        case 2: return run(std::int16_t{});
        case 4: return run(std::int32_t{});
        case 8: return run(std::int64_t{});
    }
}

// Where integers are only moved, their size is enough.
template <class Run>
void with_word(int bytes, Run&& run) {
    switch (bytes) {
        case 1: return run(std::uint8_t{});
        case 2: return run(std::uint16_t{});
        case 4: return run(std::uint32_t{});
        case 8: return run(std::uint64_t{});
    }
}
