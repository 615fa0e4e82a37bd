// The sum over rows that a fully connected layer needs beside its matrix products, which products.py has.

// dbias[o] = sum_n dz[n,o]. A block has 32 columns and as many rows of threads as it has warps: thread (x, y) sums
// rows y, y + 32, ... of column x, so that a warp reads 32 neighbours; then halves are added to halves.
extern "C" __global__ void column_sum(const REAL* dz, REAL* dbias, int64 N, int64 O) {
    __shared__ REAL part[32][32];
    int64 o = own_column();
    REAL total = 0;
    if (o < O)
        for (int64 n = threadIdx.y; n < N; n += 32) total += dz[n * O + o];
    part[threadIdx.y][threadIdx.x] = total;
    __syncthreads();
    for (int half = 16; half; half /= 2) {
        if (threadIdx.y < half) part[threadIdx.y][threadIdx.x] += part[threadIdx.y + half][threadIdx.x];
        __syncthreads();
    }
    if (threadIdx.y == 0 && o < O) dbias[o] = part[0][threadIdx.x];
}
