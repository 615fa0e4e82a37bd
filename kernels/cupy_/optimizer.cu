// Optimizer updates, element by element. Row `position` of the table holds the step's learning rate, then corrections.
// After a fault no parameter changes any more: the weights stay those of the step before.

#define RETURN_AFTER_FAULT \
    if (fault && *fault) return

// dweight += l1 sign(weight) + 2 l2 weight.
extern "C" __global__ void regularize(const REAL* weight, REAL* dweight, REAL l1, REAL l2, int64 P, int64 Q) {
    int64 i = element();
    if (i < P * Q) dweight[i] += l1 * sign(weight[i]) + 2 * l2 * weight[i];
}

// weight -= rate dweight; with a velocity: v = momentum v - rate dweight, and weight += v, or
// weight += momentum v - rate dweight after Nesterov.
extern "C" __global__ void sgd_update(const double* table, const int64* clock, REAL* weight, REAL* dweight,
                                      REAL* velocity, REAL momentum, int64 nesterov,
                                      int64 S, int64 K, int64 P, int64 Q, const int64* fault) {
    int64 i = element();
    RETURN_AFTER_FAULT;
    if (i >= P * Q) return;
    REAL step = REAL(table[clock[POSITION] * K]) * dweight[i];
    if (!velocity) {
        weight[i] -= step;
        return;
    }
    REAL v = velocity[i] = momentum * velocity[i] - step;
    weight[i] += nesterov ? momentum * v - step : v;
}

// a += dweight^2, weight -= rate dweight / (sqrt(a) + epsilon).
extern "C" __global__ void adagrad_update(const double* table, const int64* clock, REAL* weight, REAL* dweight,
                                          REAL* accumulator, REAL epsilon,
                                          int64 S, int64 K, int64 P, int64 Q, const int64* fault) {
    int64 i = element();
    RETURN_AFTER_FAULT;
    if (i >= P * Q) return;
    REAL rate = REAL(table[clock[POSITION] * K]), g = dweight[i];
    REAL a = accumulator[i] += g * g;
    weight[i] -= rate * g / (sqrt(a) + epsilon);
}

// s = rho s + (1 - rho) dweight^2, step = dweight / (sqrt(s) + epsilon), weight -= rate step;
// with a velocity: v = momentum v + step, weight -= rate v.
extern "C" __global__ void rmsprop_update(const double* table, const int64* clock, REAL* weight, REAL* dweight,
                                          REAL* mean_square, REAL* velocity, double rho, REAL momentum, REAL epsilon,
                                          int64 S, int64 K, int64 P, int64 Q, const int64* fault) {
    int64 i = element();
    RETURN_AFTER_FAULT;
    if (i >= P * Q) return;
    REAL rate = REAL(table[clock[POSITION] * K]), g = dweight[i];
    REAL s = mean_square[i] = REAL(rho) * mean_square[i] + REAL(1 - rho) * g * g;
    REAL step = g / (sqrt(s) + epsilon);
    if (velocity) step = velocity[i] = momentum * velocity[i] + step;
    weight[i] -= rate * step;
}

// m = beta_1 m + g, v = beta_2 v + g^2, g = dweight,
// weight -= rate (m c_1) / (sqrt(v c_2) + epsilon) + rate weight_decay weight; the table holds rate, c_1, c_2.
extern "C" __global__ void adam_update(const double* table, const int64* clock, REAL* weight, REAL* dweight,
                                       REAL* m, REAL* v, double beta_1, double beta_2, REAL epsilon, REAL weight_decay,
                                       int64 S, int64 K, int64 P, int64 Q, const int64* fault) {
    int64 i = element();
    RETURN_AFTER_FAULT;
    if (i >= P * Q) return;
    const double* row = table + clock[POSITION] * K;
    REAL keep = 1 - REAL(row[0]) * weight_decay, rate = REAL(row[0] * row[1]), c_2 = REAL(row[2]), g = dweight[i];
    REAL sum = m[i] = REAL(beta_1) * m[i] + g;
    REAL squares = v[i] = REAL(beta_2) * v[i] + g * g;
    weight[i] = keep * weight[i] - rate * sum / (sqrt(squares * c_2) + epsilon);
}
