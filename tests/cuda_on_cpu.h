// Enough of CUDA to run a kernel on the processor: the threads of a block take turns, from barrier to barrier.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#define __global__
#define __device__
#define __shared__ static  // blocks run one after another
#define __launch_bounds__(...)

struct Dimension { unsigned x; };
struct alignas(16) uint4 { unsigned x, y, z, w; };  // a vector out of place ends the process
static Dimension threadIdx, blockIdx, gridDim;

using cudaError_t = int;
using cudaStream_t = void*;
enum { cudaSuccess };
enum { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum { cudaFuncAttributeMaxDynamicSharedMemorySize };

static int processors = 3, shared_bytes = 227 << 10;  // of the device
static bool backwards = false;  // the order in which threads take turns
extern "C" void emulate(int given_processors, int given_bytes, int order) {
    processors = given_processors, shared_bytes = given_bytes, backwards = order;
}

inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int attribute, int) {
    *value = attribute == cudaDevAttrMultiProcessorCount ? processors : shared_bytes;
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, int, int bytes) { return bytes > shared_bytes; }
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t count, cudaStream_t) {
    std::memset(to, value, count);
    return cudaSuccess;
}
template <class T>
T __ldg(const T* from) { return *from; }
inline void atomicAdd(std::uint32_t* to, std::uint32_t value) { *to += value; }

// One thread of the block. It begins in a context of its own; from then on jumps, which make no system call, suffice.
struct Thread {
    ucontext_t beginning;
    jmp_buf place;
    enum { NEW, WAITING, DONE } state;
};
static std::vector<Thread> threads;
static ucontext_t outside;
static jmp_buf scheduler;
static std::function<void()> body;
static char* shared_memory;

inline void __syncthreads() {
    Thread& thread = threads[threadIdx.x];
    thread.state = Thread::WAITING;
    if (!_setjmp(thread.place)) _longjmp(scheduler, 1);
}

// The product of a warp by tensor cores: mma.m16n8k32 of signed bytes.
#define TENSOR_CORES_EMULATED
inline void multiply(std::int32_t (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    static std::uint32_t held[1024][6];
    std::copy_n(a, 4, held[threadIdx.x]);
    std::copy_n(b, 2, held[threadIdx.x] + 4);
    __syncthreads();
    const auto byte = [&](unsigned lane, int place, int k) {
        return static_cast<std::int8_t>(held[threadIdx.x / 32 * 32 + lane][place] >> 8 * (k % 4));
    };
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 32; ++k) {
            const unsigned row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2 + i % 2;
            sums[i] += byte(4 * row + k % 16 / 4, i / 2 + k / 16 * 2, k) * byte(4 * column + k % 16 / 4, 4 + k / 16, k);
        }
    __syncthreads();
}

inline void run_thread() {
    body();
    threads[threadIdx.x].state = Thread::DONE;
    _longjmp(scheduler, 1);
}

// Runs a thread up to its next barrier or its end.
__attribute__((noinline)) inline void take_turn(unsigned number) {
    threadIdx.x = number;
    Thread& thread = threads[number];
    if (thread.state == Thread::DONE || _setjmp(scheduler)) return;
    if (thread.state == Thread::WAITING) _longjmp(thread.place, 1);
    swapcontext(&outside, &thread.beginning);
}

// kernel<<<blocks, size, bytes, stream>>>, whose arguments are those of what it returns.
template <class... Arguments>
auto launched(void (*kernel)(Arguments...), unsigned blocks, unsigned size, std::size_t bytes, cudaStream_t) {
    return [=](Arguments... arguments) {
        constexpr std::size_t STACK = 64 << 10;
        std::vector<char> stacks(size * STACK), memory(bytes + 16);
        shared_memory = memory.data() + 16 - reinterpret_cast<std::uintptr_t>(memory.data()) % 16;
        gridDim.x = blocks;
        body = [=] { kernel(arguments...); };
        for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
            std::memset(shared_memory, 0x55, bytes);
            threads.assign(size, {});
            for (unsigned number = 0; number < size; ++number) {
                ucontext_t& beginning = threads[number].beginning;
                getcontext(&beginning);
                beginning.uc_stack.ss_sp = &stacks[number * STACK];
                beginning.uc_stack.ss_size = STACK;
                makecontext(&beginning, run_thread, 0);
            }
            for (unsigned waiting = size; waiting;) {
                waiting = 0;
                for (unsigned turn = 0; turn < size; ++turn) take_turn(backwards ? size - 1 - turn : turn);
                for (const Thread& thread : threads) waiting += thread.state == Thread::WAITING;
                if (waiting && waiting != size) std::abort();  // a barrier that some threads do not reach
            }
        }
    };
}
