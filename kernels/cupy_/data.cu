// Rows of a data set into a batch, rows of a batch back, and the check that they are finite.

// out[r] = data[permutation[first + r]], or data[first + r] without a permutation; first = clock[ROW].
extern "C" __global__ void gather(const REAL* data, const int64* permutation, const int64* clock, REAL* out,
                                  int64 M, int64 F, int64 N) {
    int64 n = own_row();
    if (n >= N) return;
    int64 source = permutation ? permutation[clock[ROW] + n] : clock[ROW] + n;
    for OWN_COLUMNS(f, F) out[n * F + f] = data[source * F + f];
}

// out[first + r] = values[r]; first = clock[ROW].
extern "C" __global__ void scatter(const REAL* values, const int64* clock, REAL* out, int64 N, int64 F, int64 M) {
    int64 n = own_row();
    if (n >= N) return;
    for OWN_COLUMNS(f, F) out[(clock[ROW] + n) * F + f] = values[n * F + f];
}

// Set the bits of `code` in fault[0] if any value is NaN or infinite: those times 0 are NaN.
extern "C" __global__ void check_finite(const REAL* values, int64* fault, int64 code, int64 N, int64 F) {
    int64 i = element();
    if (i < N * F && values[i] * 0 != 0) atomicOr((unsigned long long*)fault, (unsigned long long)code);
}
