// Metrics: one value per row; and the record of a step's sums that the host reads after a run of steps.

// The index of the first largest element of a row: the largest value first, then the smallest index that has it.
__device__ inline int64 first_largest(const REAL* row, int64 F) {
    REAL top = row_top(row, F);
    int64 first = F;
    for OWN_COLUMNS(f, F) first = row[f] == top ? smaller(first, f) : first;
    return row_smallest(first);
}

extern "C" __global__ void sparse_accuracy(const REAL* y, const int64* labels, REAL* hits, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    int64 first = first_largest(y + n * F, F);
    if (threadIdx.x == 0) hits[n] = first == labels[n];
}

extern "C" __global__ void categorical_accuracy(const REAL* y, const REAL* target, REAL* hits, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    int64 first = first_largest(y + n * F, F), wanted = first_largest(target + n * F, F);
    if (threadIdx.x == 0) hits[n] = first == wanted;
}

// hits = share of the row's elements with (y > threshold) equal to target.
extern "C" __global__ void binary_accuracy(const REAL* y, const REAL* target, REAL* hits, REAL threshold,
                                           int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    int64 count = 0;
    for OWN_COLUMNS(f, F) count += REAL(y[n * F + f] > threshold) == target[n * F + f];
    count = row_sum(count);
    if (threadIdx.x == 0) hits[n] = REAL(count) / F;
}

// ring[position, column] += sum_n values[n], in float64; one block.
extern "C" __global__ void record(const REAL* values, const int64* clock, double* ring, int64 column,
                                  int64 N, int64 S, int64 K) {
    double total = 0;
    for OWN_COLUMNS(n, N) total += values[n];
    total = row_sum(total);
    if (threadIdx.x == 0) ring[clock[POSITION] * K + column] += total;
}

// ring[position, column] += l1 sum |weight| + l2 sum weight^2, in float64; one block.
extern "C" __global__ void penalty(const REAL* weight, const int64* clock, double* ring, int64 column,
                                   REAL l1, REAL l2, int64 P, int64 Q, int64 S, int64 K) {
    double sizes = 0, squares = 0;
    for OWN_COLUMNS(i, P * Q) {
        double w = weight[i];
        sizes += fabs(w), squares += w * w;
    }
    sizes = row_sum(sizes), squares = row_sum(squares);
    if (threadIdx.x == 0) ring[clock[POSITION] * K + column] += l1 * sizes + l2 * squares;
}
