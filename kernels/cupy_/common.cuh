// What all CUDA kernels share. This text is put before that of each .cu file, so that one string is compiled.
//
// A kernel's parameters are those of its line in contract.py: arrays, then scalars; after them the length of each
// axis in the order in which the line first names it; and last the fault word, where parameters are changed. A missing
// array is null. REAL is the element type; a scalar `float` is REAL, too.
//
// Nothing here depends on which block or warp runs first: sums are taken in one order, so a launch gives the same bits
// every time.

typedef long long int64;

enum { POSITION, ITERATION, ROW };  // the clock's elements

// A kernel says how its threads are laid out by the one function that it asks for its place; launcher.py looks for it.
//   element()     a thread for each element of the array that owns the work
//   group()       a thread for each four elements
//   own_column()  32 rows of threads for each 32 columns
//   own_row()     a row of threads for each row of the array: a warp, of which a block has several, or a whole block, so
//                 that a block's barrier is one of a row. OWN_COLUMNS are those of its elements a thread looks at.
//   none of them  one block, which is one row of threads
__device__ inline int64 element() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int64 group() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int64 own_column() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int64 own_row() { return (int64)blockIdx.x * blockDim.y + threadIdx.y; }
#define OWN_COLUMNS(j, count) (int64 j = threadIdx.x; j < (count); j += blockDim.x)

template <class T> __device__ inline T larger(T a, T b) { return a < b ? b : a; }
template <class T> __device__ inline T smaller(T a, T b) { return b < a ? b : a; }

template <class T> struct Add { __device__ T operator()(T a, T b) const { return a + b; } };
template <class T> struct Larger { __device__ T operator()(T a, T b) const { return larger(a, b); } };
template <class T> struct Smaller { __device__ T operator()(T a, T b) const { return smaller(a, b); } };

// Combine the values of a row of threads; each of them gets the result. Within a warp lane i meets lane i ^ 16,
// i ^ 8, ..., i ^ 1, so all lanes add the same pairs; then the warps' results are taken one after the other.
template <class T, class Combine> __device__ inline T across_row(T value, Combine combine) {
    for (int apart = 16; apart; apart /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, apart));
    if (blockDim.x == 32) return value;
    __shared__ T of_warp[32];
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warp[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) value = combine(value, of_warp[warp]);
    __syncthreads();  // before the next call writes there again
    return value;
}

template <class T> __device__ inline T row_sum(T value) { return across_row(value, Add<T>()); }
template <class T> __device__ inline T row_largest(T value) { return across_row(value, Larger<T>()); }
template <class T> __device__ inline T row_smallest(T value) { return across_row(value, Smaller<T>()); }

template <class T> __device__ inline T sign(T x) { return T(x > 0) - T(x < 0); }

// 1 / (1 + exp(-z)), from exp(-|z|) so that nothing overflows.
template <class T> __device__ inline T sigmoid(T z) {
    T small = exp(-fabs(z));
    return (z >= 0 ? T(1) : small) / (1 + small);
}

// The largest element of a row.
template <class T> __device__ inline T row_top(const T* row, int64 F) {
    T top = row[threadIdx.x < F ? threadIdx.x : 0];
    for OWN_COLUMNS(f, F) top = larger(top, row[f]);
    return row_largest(top);
}

// y = exp(z - top) / its sum over the row, which is returned.
template <class T> __device__ inline T exp_and_normalize(const T* z, T* y, T top, int64 F) {
    T total = 0;
    for OWN_COLUMNS(f, F) total += y[f] = exp(z[f] - top);
    total = row_sum(total);
    for OWN_COLUMNS(f, F) y[f] /= total;
    return total;
}

// Four words of Philox4x32-10: key = seed, counter = (group, 0, step, stream). See numpy_/random.py.
struct Words { unsigned word[4]; };

__device__ inline Words philox(int64 seed, int64 group, int64 step, int64 stream) {
    unsigned c0 = (unsigned)group, c1 = 0, c2 = (unsigned)step, c3 = (unsigned)stream;
    unsigned key0 = (unsigned)seed, key1 = (unsigned)((unsigned long long)seed >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ key0, c1 = low1, c2 = high0 ^ c3 ^ key1, c3 = low0;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}
