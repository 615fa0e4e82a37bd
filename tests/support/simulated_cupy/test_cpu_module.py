"""CUDA text runs on the processor as on a GPU, and what a GPU would hide or not survive is shown."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_cupy import cpu_module
from simulated_cupy.cpu_module import ORDERS, CpuModule

TEXT = """
__device__ float block_sum(float value) {  // by halves through shared memory
    __shared__ float part[64];
    part[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        BARRIER;
    }
    return part[0];
}
extern "C" __global__ void sums(const float* x, float* out, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    float sum = block_sum(i < n ? x[i] : 0);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
extern "C" __global__ void warp_sums(const double* x, double* out) {
    double sum = x[threadIdx.x];
    for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    out[threadIdx.x] = sum;
}
extern "C" __global__ void neighbours(const int* x, int* out) {
    out[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 1);
}
extern "C" __global__ void votes(const int* x, unsigned* out) {
    out[threadIdx.x] = __ballot_sync(0xffffffffu, x[threadIdx.x] > 0);
}
extern "C" __global__ void unwritten(float* out, int dynamic) {
    __shared__ float fixed[4];
    extern __shared__ float flexible[];
    out[threadIdx.x] = dynamic ? flexible[threadIdx.x] : fixed[threadIdx.x];
    fixed[threadIdx.x] = flexible[threadIdx.x] = 1;
}
extern "C" __global__ void places(long long* out) {
    int i = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y + threadIdx.y * blockDim.x + threadIdx.x;
    out[i] = 1000 * blockIdx.y + 100 * blockIdx.x + 10 * threadIdx.y + threadIdx.x;
}
extern "C" __global__ void apart(int* out) {
    if (threadIdx.x % 2) __syncthreads();
    else __syncthreads();
}
extern "C" __global__ void waits_for_ever(int* out) {
    if (threadIdx.x) __syncthreads();
    else __shfl_sync(0xffffffffu, 1, 0);
}
extern "C" __global__ void fill(float* out, float value, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) out[i] = value;
}
extern "C" __global__ void largest(const float* x, float* out) { out[0] = max(x[0], x[1]); out[1] = exp(x[2]); }
"""


@pytest.fixture
def kernel():
    return lambda name: CpuModule(TEXT, ("-DBARRIER=__syncthreads()",)).get_function(name)


every_order = pytest.mark.parametrize("order", ORDERS)
X = np.random.default_rng(3).standard_normal(200).astype(np.float32)


@every_order
def test_a_block_adds_through_shared_memory(kernel, order):
    out = np.full(4, np.nan, np.float32)
    kernel("sums")((4,), (64,), (X, out, np.int64(200)), order=order)
    np.testing.assert_allclose(out, [X[i : i + 64].sum() for i in range(0, 200, 64)], rtol=1e-5)


def test_a_missing_barrier_shows_in_some_order():
    broken = CpuModule(TEXT, ("-DBARRIER=",)).get_function("sums")
    results = np.full((len(ORDERS), 4), np.nan, np.float32)
    for order, out in zip(ORDERS, results, strict=True):
        broken((4,), (64,), (X, out, np.int64(200)), order=order)
    assert len({out.tobytes() for out in results}) > 1


@every_order
def test_a_warp_adds_through_shuffles(kernel, order):
    x, out = np.arange(64.0), np.empty(64)
    kernel("warp_sums")((1,), (64,), (x, out), order=order)
    assert np.array_equal(out, np.repeat([x[:32].sum(), x[32:].sum()], 32))


@every_order
def test_lanes_that_are_not_there_give_poison(kernel, order):
    x, out = np.arange(40, dtype=np.int32), np.empty(40, np.int32)
    kernel("neighbours")((1,), (40,), (x, out), order=order)
    assert np.array_equal(out, [*range(1, 32), 31, *range(33, 40), -1])


def test_votes_of_a_warp(kernel):
    x, out = (np.arange(32) % 3 == 0).astype(np.int32), np.empty(32, np.uint32)
    kernel("votes")((1,), (32,), (x, out))
    assert np.array_equal(out, np.full(32, sum(int(v) << i for i, v in enumerate(x))))


@pytest.mark.parametrize("dynamic", [0, 1])
def test_shared_memory_is_poisoned_before_each_block(kernel, dynamic):
    out = np.zeros(4, np.float32)
    kernel("unwritten")((3,), (4,), (out, np.int32(dynamic)), shared_mem=16)
    assert np.isnan(out).all()


@every_order
def test_every_thread_runs_once_and_knows_its_place(kernel, order):
    out = np.full(24, -1)
    kernel("places")((2, 2), (3, 2), (out,), order=order)
    wanted = [1000 * v + 100 * u + 10 * y + x for v in range(2) for u in range(2) for y in range(2) for x in range(3)]
    assert np.array_equal(out, wanted)


def test_words_mean_what_they_mean_in_cuda(kernel):
    out = np.empty(2, np.float32)
    kernel("largest")((1,), (1,), (np.array([np.nan, 2, 1], np.float32), out))
    np.testing.assert_allclose(out, [2, np.e], rtol=1e-6)


OUT, N = np.zeros(8, np.float32), np.int64(8)
ARGUMENTS = {
    "a Python float": (OUT, 1.0, N),
    "a Python int": (OUT, np.float32(1), 8),
    "a narrow int": (OUT, np.float32(1), np.int32(8)),
    "a wide float": (OUT, np.float64(1), N),
    "an array of another type": (OUT.astype(np.float64), np.float32(1), N),
    "every other element": (np.zeros(16, np.float32)[::2], np.float32(1), N),
    "an address": (OUT.ctypes.data, np.float32(1), N),
    "too few": (OUT, np.float32(1)),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_must_have_the_types_of_the_kernel(kernel, case):
    with pytest.raises(TypeError, match=r"(argument \d of fill must be|fill takes 3 arguments)"):
        kernel("fill")((1,), (8,), ARGUMENTS[case])


@pytest.mark.parametrize(
    "name, grid, block, shared, words",
    [
        ("apart", (1,), (32,), 0, "threads wait at different __syncthreads"),
        ("waits_for_ever", (1,), (4,), 0, "some threads wait for others that never come"),
        ("apart", (0,), (32,), 0, "invalid launch"),
        ("apart", (1,), (33, 32), 0, "invalid launch"),
        ("apart", (1, 70000), (1,), 0, "invalid launch"),
        ("apart", (1,), (1,), 1 << 16, "invalid launch"),
    ],
)
def test_what_a_gpu_would_not_survive_is_an_error(kernel, name, grid, block, shared, words):
    out = np.zeros(1, np.int32)
    with pytest.raises(RuntimeError, match=rf"{name}: (block \(0,0,0\): )?{words}"):
        kernel(name)(grid, block, (out,), shared_mem=shared)
    test_a_warp_adds_through_shuffles(kernel, 0)  # the next launch runs as if nothing had been


@pytest.mark.parametrize("first, count, harmed", [(0, 8, False), (-1, 8, True), (0, 9, True), (0, 5, False)])
def test_writing_beside_an_array_is_an_error(kernel, first, count, harmed):
    memory = np.frombuffer(cpu_module.GUARD_BYTES * 20, np.float32).copy()
    inside = memory[16:24]
    start = inside.ctypes.data
    launch = kernel("fill").bind(
        (1,), (16,), (memory[16 + first :][:count], np.float32(0), np.int64(count)),
        ranges=[(start, start + inside.nbytes)],
    )
    if harmed:
        with pytest.raises(RuntimeError, match="fill: wrote outside the memory of array argument 0"):
            launch.run()
    else:
        launch.run()
        assert np.array_equal(inside[:count], np.zeros(count))


@pytest.mark.parametrize(
    "text, options, error, words",
    [
        ("oops;", (), RuntimeError, "could not compile the CUDA text:\nsource.cu:1"),
        ('#include "other.cuh"', (), ValueError, "source includes another file"),
        ("", ("--use_fast_math",), ValueError, "'--use_fast_math' means nothing on a processor"),
    ],
)
def test_text_that_cannot_be_compiled(text, options, error, words):
    with pytest.raises(error, match=words):
        CpuModule(text, options)


def test_an_unknown_kernel_is_named(kernel):
    with pytest.raises(AttributeError, match="no kernel named 'sum'"):
        kernel("sum")


def test_text_is_compiled_once(monkeypatch):
    CpuModule(TEXT, ("-DBARRIER=__syncthreads()",))
    monkeypatch.setattr(cpu_module.subprocess, "run", None)
    CpuModule(TEXT, ("-DBARRIER=__syncthreads()",))
