// Losses beside their gradients: one value per row, and the gradient scaled by `scale`. A row of threads has one row of
// the batch; dz or dy may be null. The formulas are those of numpy_/loss.py.

#define EPSILON 1e-7  // probabilities are kept this far from 0 and 1

__device__ inline bool inside(REAL y) { return y > REAL(EPSILON) && y < REAL(1 - EPSILON); }
__device__ inline REAL clipped(REAL y) { return smaller(larger(y, REAL(EPSILON)), REAL(1 - EPSILON)); }  // NaN stays

extern "C" __global__ void smooth(const REAL* target, REAL* out, REAL keep, REAL rest, int64 N, int64 F) {
    int64 i = element();
    if (i < N * F) out[i] = target[i] * keep + rest;
}

extern "C" __global__ void softmax_crossentropy_sparse(const REAL* z, const int64* labels, REAL* y, REAL* loss,
                                                       REAL* dz, REAL scale, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    z += n * F, y += n * F;
    REAL top = row_top(z, F), chosen = z[labels[n]] - top, total = exp_and_normalize(z, y, top, F);
    if (threadIdx.x == 0) loss[n] = log(total) - chosen;
    if (dz)
        for OWN_COLUMNS(f, F) dz[n * F + f] = f == labels[n] ? y[f] * scale - scale : y[f] * scale;
}

extern "C" __global__ void softmax_crossentropy(const REAL* z, const REAL* target, REAL* y, REAL* loss, REAL* dz,
                                                REAL scale, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    z += n * F, y += n * F, target += n * F;
    REAL top = row_top(z, F), mass = 0, chosen = 0;
    for OWN_COLUMNS(f, F) mass += target[f], chosen += target[f] * (z[f] - top);
    mass = row_sum(mass), chosen = row_sum(chosen);
    REAL total = exp_and_normalize(z, y, top, F);
    if (threadIdx.x == 0) loss[n] = mass * log(total) - chosen;
    if (dz)
        for OWN_COLUMNS(f, F) dz[n * F + f] = (y[f] * mass - target[f]) * scale;
}

extern "C" __global__ void sigmoid_crossentropy(const REAL* z, const REAL* target, REAL* y, REAL* loss, REAL* dz,
                                                REAL scale, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        int64 i = n * F + f;
        REAL u = z[i], v = sigmoid(u);
        total += larger(u, REAL(0)) - u * target[i] + log1p(exp(-fabs(u)));
        y[i] = v;
        if (dz) dz[i] = (v - target[i]) * (scale / F);
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total / F;
}

extern "C" __global__ void sparse_crossentropy(const REAL* y, const int64* labels, REAL* loss, REAL* dy, REAL scale,
                                               int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL chosen = y[n * F + labels[n]];
    if (threadIdx.x == 0) loss[n] = -log(clipped(chosen));
    if (dy)
        for OWN_COLUMNS(f, F) dy[n * F + f] = f == labels[n] && inside(chosen) ? -scale / chosen : 0;
}

extern "C" __global__ void categorical_crossentropy(const REAL* y, const REAL* target, REAL* loss, REAL* dy,
                                                    REAL scale, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        int64 i = n * F + f;
        total -= target[i] * log(clipped(y[i]));
        if (dy) dy[i] = inside(y[i]) ? -scale * target[i] / y[i] : 0;
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total;
}

extern "C" __global__ void binary_crossentropy(const REAL* y, const REAL* target, REAL* loss, REAL* dy, REAL scale,
                                               int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        int64 i = n * F + f;
        REAL p = clipped(y[i]), t = target[i];
        total -= t * log(p) + (1 - t) * log(1 - p);
        if (dy) dy[i] = inside(y[i]) ? (p - t) / (p * (1 - p)) * (scale / F) : 0;
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total / F;
}

extern "C" __global__ void squared_error(const REAL* y, const REAL* target, REAL* loss, REAL* dy, REAL scale,
                                         int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        REAL error = y[n * F + f] - target[n * F + f];
        total += error * error;
        if (dy) dy[n * F + f] = error * (2 * scale / F);
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total / F;
}

extern "C" __global__ void absolute_error(const REAL* y, const REAL* target, REAL* loss, REAL* dy, REAL scale,
                                          int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        REAL error = y[n * F + f] - target[n * F + f];
        total += fabs(error);
        if (dy) dy[n * F + f] = sign(error) * (scale / F);
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total / F;
}

extern "C" __global__ void huber(const REAL* y, const REAL* target, REAL* loss, REAL* dy, REAL scale, REAL delta,
                                 int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL total = 0;
    for OWN_COLUMNS(f, F) {
        REAL error = y[n * F + f] - target[n * F + f], size = fabs(error);
        total += size <= delta ? REAL(0.5) * error * error : delta * size - REAL(0.5) * delta * delta;
        if (dy) dy[n * F + f] = smaller(larger(error, -delta), delta) * (scale / F);
    }
    total = row_sum(total);
    if (threadIdx.x == 0) loss[n] = total / F;
}
