// Runs CUDA C on the CPU, so that the very text of our kernels is tested where there is no GPU.
//
// One CUDA thread after the other runs on a fiber: a stack of its own that can be left in the middle of a function.
// A thread runs until it ends or must wait: at __syncthreads() for its block, at a shuffle for its warp. Threads that
// never wait need no fiber of their own, so element-wise kernels cost a function call per thread.
//
// What a GPU would let pass is made visible. Threads run in the order that is asked for, so a missing barrier changes
// the result of some order. Shared memory holds NaN before each block. Reading a lane that did not take part in a
// shuffle gives NaN. Barriers that some threads pass elsewhere, or never, are errors, not hangs. Memory around arrays
// must not change.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };

namespace cuda_on_cpu {

constexpr int WARP = 32, MOST_THREADS = 1024, GUARD = 64;  // guard: bytes before and behind each array
constexpr size_t STACK = 128 * 1024, MOST_SHARED = 48 * 1024;
constexpr unsigned char GUARD_BYTES[8] = {0xa5, 0xa5, 0xa5, 0x7f, 0xa5, 0xa5, 0xf5, 0xff};  // as in cpu_module.py
enum State { READY, AT_BARRIER, IN_WARP, ENDED };

struct Fiber { jmp_buf where; };

struct Thread {
    Fiber* fiber;
    State state;
    const void* place;  // of the barrier or shuffle in the source
    unsigned mask, present, turn;
    uint64_t gift[2];  // what it shows to its warp, in this shuffle and in the one before
};

static Thread threads[MOST_THREADS];
static int order[MOST_THREADS];
static int count, begun, current, alive;
static uint3 thread_index, block_index;
static dim3 block_size, grid_size;
static void (*body)(void**);
static void** arguments;
alignas(256) static char dynamic_shared[MOST_SHARED];
static size_t dynamic_bytes;
static char message[512];

// __shared__ variables lie in a section of their own, so that they can be poisoned
extern "C" __attribute__((weak, visibility("hidden"))) char __start_cuda_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) char __stop_cuda_shared[];

// ---- fibers: made with ucontext, which is portable, and switched with setjmp, which is fast

static std::vector<Fiber*> idle;
static Fiber* running;
static jmp_buf scheduler;
static ucontext_t maker;

static void turn_to(int thread) {
    current = thread;
    unsigned x = block_size.x, y = block_size.y, t = thread;
    if (t < x) thread_index = {t, 0, 0};  // without divisions, which would take longer than many a kernel
    else thread_index = {t % x, t / x % y, t / (x * y)};
}

static void live() {
    Fiber* self = running;
    if (!_setjmp(self->where)) setcontext(&maker);
    for (;;) {
        while (begun < count) {
            int thread = order[begun++];
            threads[thread] = {self, READY, nullptr, 0, 0, 0, {0, 0}};
            turn_to(thread);
            body(arguments);
            threads[current].state = ENDED;
            alive--;
        }
        idle.push_back(self);
        if (!_setjmp(self->where)) _longjmp(scheduler, 1);
    }
}

static Fiber* new_fiber() {
    static unsigned made;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = new char[STACK];
    context.uc_stack.ss_size = STACK - made++ % 128 * 320;  // or all of them would share a few lines of the cache
    context.uc_link = nullptr;
    makecontext(&context, live, 0);
    running = new Fiber;
    swapcontext(&maker, &context);
    return running;
}

static __attribute__((noinline)) void resume(Fiber* fiber) {
    running = fiber;
    if (!_setjmp(scheduler)) _longjmp(fiber->where, 1);
}

static __attribute__((noinline)) void wait_for(State state, const void* place, unsigned mask) {
    Thread& self = threads[current];
    self.state = state, self.place = place, self.mask = mask;
    if (!_setjmp(running->where)) _longjmp(scheduler, 1);
}

// ---- a block: run every thread that can run, then let those go on for whom all others have come

static int fail(const char* what) {
    snprintf(message, sizeof message, "block (%u,%u,%u): %s", block_index.x, block_index.y, block_index.z, what);
    return 1;
}

static int release_barrier(bool& any) {
    const void* place = nullptr;
    int there = 0;
    for (int i = 0; i < count; i++)
        if (threads[i].state == AT_BARRIER) {
            if (place && place != threads[i].place) return fail("threads wait at different __syncthreads()");
            place = threads[i].place, there++;
        }
    if (there < alive) return 0;
    for (int i = 0; i < count; i++)
        if (threads[i].state == AT_BARRIER) threads[i].state = READY;
    any = true;
    return 0;
}

static int release_warp(int first, bool& any) {
    int end = std::min(first + WARP, count);
    unsigned waiting = 0, living = 0;
    for (int i = first; i < end; i++) {
        living |= unsigned(threads[i].state != ENDED) << (i - first);
        waiting |= unsigned(threads[i].state == IN_WARP) << (i - first);
    }
    for (int i = first; i < end; i++) {
        Thread& one = threads[i];
        if (one.state != IN_WARP) continue;
        if (!(one.mask >> (i - first) & 1)) return fail("a thread's own lane is missing in the mask of its shuffle");
        unsigned together = one.mask & living;
        if ((waiting & together) != together) continue;
        for (int j = first; j < end; j++)
            if (together >> (j - first) & 1) {
                if (threads[j].mask != one.mask || threads[j].place != one.place)
                    return fail("threads of a warp meet in different shuffles");
                threads[j].state = READY, threads[j].present = together;
            }
        waiting &= ~together;
        any = true;
    }
    return 0;
}

static void shuffle(uint64_t& seed) {
    for (int i = count - 1; i > 0; i--) {  // xorshift64, Marsaglia 2003
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        std::swap(order[i], order[seed % (i + 1)]);
    }
}

static void run_if_ready(int thread, bool& any) {
    if (threads[thread].state != READY) return;
    turn_to(thread);
    resume(threads[thread].fiber);
    any = true;
}

// One warp as far as it can go while the others rest: it may be at the next use of shared memory by then.
static int run_warp(int first, bool& any) {
    for (bool more = true; more; any |= more) {
        more = false;
        if (release_warp(first, more)) return 1;
        for (int i = first; i < std::min(first + WARP, count); i++) run_if_ready(i, more);
    }
    return 0;
}

static int run_block(uint64_t& seed, bool eager) {
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
    memset(dynamic_shared, 0xff, dynamic_bytes);
    begun = 0, alive = count;
    if (seed) shuffle(seed);
    while (begun < count) {
        Fiber* fiber = idle.empty() ? new_fiber() : idle.back();
        if (!idle.empty()) idle.pop_back();
        resume(fiber);
    }
    while (alive) {
        bool any = false;
        if (release_barrier(any)) return 1;
        for (int first = 0; first < count; first += WARP)
            if (eager ? run_warp(first, any) : release_warp(first, any)) return 1;
        if (seed) shuffle(seed);
        for (int i = 0; i < count; i++) run_if_ready(order[i], any);
        if (!any) return fail("some threads wait for others that never come");
    }
    return 0;
}

static bool intact(const unsigned char* guard) {
    for (int i = 0; i < GUARD; i++)
        if (guard[i] != GUARD_BYTES[i % 8]) return false;
    return true;
}

// how: 0 threads and blocks forwards, 1 backwards, else threads shuffled by that seed. Where it is even all warps go
// step by step together, where it is odd each goes as far as it can.
// ranges: first and last byte of the memory whose guards must be unharmed.
static int launch(void (*kernel)(void**), const unsigned* grid, const unsigned* block, size_t shared, void** args,
                  uint64_t how, unsigned char** ranges, int range_count) {
    message[0] = 0;
    uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2], size = uint64_t(block[0]) * block[1] * block[2];
    if (!blocks || grid[1] > 65535 || grid[2] > 65535 || !size || size > MOST_THREADS || block[2] > 64 ||
        shared > MOST_SHARED) {
        snprintf(message, sizeof message, "invalid launch: grid (%u,%u,%u), block (%u,%u,%u), %zu bytes of shared memory",
                 grid[0], grid[1], grid[2], block[0], block[1], block[2], shared);
        return 1;
    }
    body = kernel, arguments = args, count = int(size), dynamic_bytes = shared;
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    uint64_t seed = how > 1 ? how : 0;
    for (int i = 0; i < count; i++) order[i] = how == 1 ? count - 1 - i : i;
    for (uint64_t k = 0; k < blocks; k++) {
        uint64_t j = how % 2 ? blocks - 1 - k : k;
        block_index = {unsigned(j % grid[0]), unsigned(j / grid[0] % grid[1]), unsigned(j / grid[0] / grid[1])};
        if (run_block(seed, how % 2)) return 1;
    }
    for (int i = 0; i < range_count; i++)
        if (!intact(ranges[2 * i] - GUARD) || !intact(ranges[2 * i + 1])) {
            snprintf(message, sizeof message, "wrote outside the memory of array argument %d", i);
            return 1;
        }
    return 0;
}

// ---- shuffles

template <class T> T of_lane(T value, int lane, unsigned mask, const void* place) {
    static_assert(sizeof(T) <= 8, "a shuffle carries 8 bytes at most");
    int self = current, turn = threads[self].turn++ & 1;
    memcpy(&threads[self].gift[turn], &value, sizeof value);
    wait_for(IN_WARP, place, mask);
    memset(&value, 0xff, sizeof value);
    if (threads[self].present >> lane & 1) memcpy(&value, &threads[self / WARP * WARP + lane].gift[turn], sizeof value);
    return value;
}

inline int lane_of(int lane, int width) {  // the lane itself where it lies outside its part of the warp
    int self = current % WARP, first = self / width * width;
    return lane < first || lane >= first + width ? self : lane;
}

inline unsigned ballot(bool vote, unsigned mask, const void* place) {
    int self = current, turn = threads[self].turn++ & 1;
    threads[self].gift[turn] = vote;
    wait_for(IN_WARP, place, mask);
    unsigned votes = 0;
    for (int lane = 0; lane < WARP; lane++)
        if (threads[self].present >> lane & 1) votes |= unsigned(threads[self / WARP * WARP + lane].gift[turn]) << lane;
    return votes;
}

// ---- a kernel's signature as text: a letter per scalar, and two for a pointer

template <class T> constexpr char letter() {
    using U = std::remove_cv_t<T>;
    if (std::is_same<U, float>()) return 'f';
    if (std::is_same<U, double>()) return 'd';
    if (std::is_same<U, bool>()) return '?';
    if (std::is_integral<U>() && sizeof(U) == 1) return std::is_signed<U>() ? 'b' : 'B';
    if (std::is_integral<U>() && sizeof(U) == 2) return std::is_signed<U>() ? 'h' : 'H';
    if (std::is_integral<U>() && sizeof(U) == 4) return std::is_signed<U>() ? 'i' : 'I';
    if (std::is_integral<U>() && sizeof(U) == 8) return std::is_signed<U>() ? 'q' : 'Q';
    return 'x';
}

template <auto kernel> struct Kernel;
template <class... A, void (*kernel)(A...)> struct Kernel<kernel> {
    template <size_t... I> static void call(void** args, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<A>*>(args[I])...);
    }
    static void run(void** args) { call(args, std::index_sequence_for<A...>{}); }
    static const char* signature() {
        static const char text[] = {  // "Pq fq": a pointer to float and an int64
            (std::is_pointer<A>() ? 'P' : letter<A>())..., ' ', letter<std::remove_pointer_t<A>>()..., 0};
        return text;
    }
};

}  // namespace cuda_on_cpu

extern "C" __attribute__((visibility("default"))) const char* cuda_message() { return cuda_on_cpu::message; }

// ---- the words of CUDA C

#define threadIdx (cuda_on_cpu::thread_index)
#define blockIdx (cuda_on_cpu::block_index)
#define blockDim (cuda_on_cpu::block_size)
#define gridDim (cuda_on_cpu::grid_size)
#define warpSize 32
#define __global__
#define __shared__ static __attribute__((section("cuda_shared")))
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))

#define CUDA_HERE ([]() -> const void* { static char here; return &here; }())
#define __syncthreads() cuda_on_cpu::wait_for(cuda_on_cpu::AT_BARRIER, CUDA_HERE, 0)
#define __syncwarp(...) ((void)cuda_on_cpu::ballot(true, cuda_mask(__VA_ARGS__), CUDA_HERE))
#define __ballot_sync(mask, vote) cuda_on_cpu::ballot(vote, mask, CUDA_HERE)
#define __any_sync(mask, vote) (cuda_on_cpu::ballot(vote, mask, CUDA_HERE) != 0)
#define __all_sync(mask, vote) (cuda_on_cpu::ballot(!(vote), mask, CUDA_HERE) == 0)
#define __shfl_sync(mask, ...) cuda_shuffle(mask, CUDA_HERE, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) cuda_shuffle_up(mask, CUDA_HERE, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) cuda_shuffle_down(mask, CUDA_HERE, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) cuda_shuffle_xor(mask, CUDA_HERE, __VA_ARGS__)

inline unsigned cuda_mask(unsigned mask = 0xffffffffu) { return mask; }
inline int cuda_lane() { return cuda_on_cpu::current % 32; }
template <class T> T cuda_shuffle(unsigned mask, const void* place, T value, int lane, int width = 32) {
    return cuda_on_cpu::of_lane(value, cuda_lane() / width * width + lane % width, mask, place);
}
template <class T> T cuda_shuffle_up(unsigned mask, const void* place, T value, int by, int width = 32) {
    return cuda_on_cpu::of_lane(value, cuda_on_cpu::lane_of(cuda_lane() - by, width), mask, place);
}
template <class T> T cuda_shuffle_down(unsigned mask, const void* place, T value, int by, int width = 32) {
    return cuda_on_cpu::of_lane(value, cuda_on_cpu::lane_of(cuda_lane() + by, width), mask, place);
}
template <class T> T cuda_shuffle_xor(unsigned mask, const void* place, T value, int with, int width = 32) {
    return cuda_on_cpu::of_lane(value, cuda_on_cpu::lane_of(cuda_lane() ^ with, width), mask, place);
}

inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T> T __ldg(const T* place) { return *place; }
template <class T, class U> T atomicAdd(T* place, U value) { T old = *place; *place = old + T(value); return old; }
template <class T, class U> T atomicOr(T* place, U value) { T old = *place; *place = old | T(value); return old; }
template <class T, class U> T atomicMax(T* place, U value) { T old = *place; *place = std::max(old, T(value)); return old; }
template <class T, class U> T atomicExch(T* place, U value) { T old = *place; *place = T(value); return old; }
template <class T> T atomicCAS(T* place, T expected, T value) {
    T old = *place;
    if (old == expected) *place = value;
    return old;
}

inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
template <class A, class B> constexpr auto max(A a, B b) {  // of floating-point numbers the one that is no NaN
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return T(fmax(T(a), T(b)));
    else return T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B> constexpr auto min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return T(fmin(T(a), T(b)));
    else return T(b) < T(a) ? T(b) : T(a);
}
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
using std::expm1; using std::fabs; using std::fma; using std::fmax; using std::fmin; using std::isfinite;
using std::isinf; using std::isnan; using std::log1p;

#define CUDA_KERNEL(name)                                                                                              \
    extern "C" __attribute__((visibility("default"))) int launch_##name(                                               \
        const unsigned* grid, const unsigned* block, size_t shared, void** args, uint64_t how,                         \
        unsigned char** ranges, int range_count) {                                                                     \
        return cuda_on_cpu::launch(cuda_on_cpu::Kernel<name>::run, grid, block, shared, args, how, ranges, range_count);\
    }                                                                                                                  \
    extern "C" __attribute__((visibility("default"))) const char* signature_##name() {                                 \
        return cuda_on_cpu::Kernel<name>::signature();                                                                 \
    }
