// Random bits as a pure function of where they are used: the same words as on every other backend.

// out = words 0, 1, 2, ... of one stream at one step; a thread makes four of them.
extern "C" __global__ void random_bits(const int64* clock, int64* out, int64 seed, int64 stream, int64 N) {
    int64 own = group();
    Words words = philox(seed, own, clock[ITERATION], stream);
    for (int k = 0; k < 4; k++)
        if (4 * own + k < N) out[4 * own + k] = words.word[k];
}
