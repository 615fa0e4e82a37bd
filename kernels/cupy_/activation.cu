// Activations beside their derivatives, and dropout. Outputs may be inputs: a thread reads and writes its own elements.

enum { LINEAR, STEP, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, GELU, SILU, SOFTPLUS };  // contract.ELEMENTWISE

#define ROOT_HALF REAL(0.70710678118654752440)  // sqrt(1 / 2)
#define DENSITY REAL(0.39894228040143267794)    // sqrt(1 / (2 pi)), the normal density at 0

// y = f(z).
extern "C" __global__ void activation(const REAL* z, REAL* y, int64 kind, REAL alpha, int64 N, int64 F) {
    int64 i = element();
    if (i >= N * F) return;
    REAL u = z[i], v = u;
    switch (kind) {
        case STEP: v = u >= 0; break;
        case SIGMOID: v = sigmoid(u); break;
        case TANH: v = tanh(u); break;
        case RELU: v = u < 0 ? 0 : u; break;  // so NaN stays
        case LEAKY_RELU: v = u > 0 ? u : alpha * u; break;
        case ELU: v = u > 0 ? u : alpha * expm1(u); break;
        case GELU: v = REAL(0.5) * u * (1 + erf(u * ROOT_HALF)); break;
        case SILU: v = u * sigmoid(u); break;
        case SOFTPLUS: v = larger(u, REAL(0)) + log1p(exp(-fabs(u))); break;
    }
    y[i] = v;
}

// dz = f'(z) dy, from y where f' follows from it.
extern "C" __global__ void activation_gradient(const REAL* z, const REAL* y, const REAL* dy, REAL* dz,
                                               int64 kind, REAL alpha, int64 N, int64 F) {
    int64 i = element();
    if (i >= N * F) return;
    REAL v = y[i], slope = 1;
    switch (kind) {
        case SIGMOID: slope = v * (1 - v); break;
        case TANH: slope = 1 - v * v; break;
        case RELU: slope = v > 0; break;
        case LEAKY_RELU: slope = v > 0 ? 1 : alpha; break;
        case ELU: slope = v > 0 ? 1 : v + alpha; break;
        case GELU: {  // d/dz z Phi(z) = Phi(z) + z phi(z)
            REAL u = z[i];
            slope = REAL(0.5) * (1 + erf(u * ROOT_HALF)) + u * DENSITY * exp(REAL(-0.5) * u * u);
            break;
        }
        case SILU: {
            REAL u = z[i], s = sigmoid(u);
            slope = s * (1 + u * (1 - s));
            break;
        }
        case SOFTPLUS: slope = -expm1(-v); break;  // sigmoid(z) = 1 - exp(-y)
    }
    dz[i] = kind == STEP ? 0 : slope * dy[i];
}

// y[n,f] = exp(z[n,f] - max_f z) / sum_f exp(z[n,f] - max_f z).
extern "C" __global__ void softmax(const REAL* z, REAL* y, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    exp_and_normalize(z + n * F, y + n * F, row_top(z + n * F, F), F);
}

// dz = y (dy - sum_f y dy), the product with the Jacobian diag(y) - y y^T.
extern "C" __global__ void softmax_gradient(const REAL* y, const REAL* dy, REAL* dz, int64 N, int64 F) {
    int64 n = own_row();
    if (n >= N) return;
    REAL inner = 0;
    for OWN_COLUMNS(f, F) inner += y[n * F + f] * dy[n * F + f];
    inner = row_sum(inner);
    for OWN_COLUMNS(f, F) dz[n * F + f] = y[n * F + f] * (dy[n * F + f] - inner);
}

// y = scale x where the element's random word is at least `threshold`, else 0 x; a thread has four elements, for
// Philox makes four words at once. The reference says what the words are of.
extern "C" __global__ void dropout(const REAL* x, const int64* clock, REAL* y, int64 seed, int64 stream,
                                   int64 threshold, REAL scale, int64 N, int64 F) {
    int64 own = group();
    Words words = philox(seed, own, clock[ITERATION], stream);
    for (int k = 0; k < 4; k++) {
        int64 i = 4 * own + k;
        if (i < N * F) y[i] = x[i] * (words.word[k] >= (unsigned)threshold ? scale : REAL(0));
    }
}
