"""The simulated device lets nothing pass that a real one would punish: else tests on it would be worth nothing."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import types

import numpy as np
import pytest
import simulated_cupy
from simulated_cupy.memory import CUDARuntimeError, OutOfMemoryError, altered, device

cupy = simulated_cupy.modules()["cupy"]
TEXT = """
extern "C" __global__ void scale(float* x, float by, long long n) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n + EXTRA) x[i] *= by;
}
"""


@pytest.fixture
def stream():
    with cupy.cuda.Stream(non_blocking=True) as made:
        yield made
    device.local.capture = None  # where a test fails in the middle of one


def scale(x, by, extra=0):
    """A launch of x *= by, which goes `extra` elements too far."""
    kernel = cupy.RawModule(code=TEXT, options=(f"-DEXTRA={extra}",)).get_function("scale")
    return lambda: kernel((1,), (64,), (x, np.float32(by), np.int64(x.size)))


def host(x):
    return x.get().tolist()


def pinned(count):
    memory = cupy.cuda.alloc_pinned_memory(8 * count)
    return memory, np.frombuffer(memory, np.float64, count)


# ---- arrays


def test_new_memory_is_poison():
    assert np.isnan(cupy.empty(3, np.float32).get()).all()
    assert np.isnan(cupy.empty(3, np.float64).get()).all()
    assert (cupy.empty(3, np.int64).get() < -(1 << 48)).all()


@pytest.mark.parametrize(
    "use",
    [
        float, int, bool, list, iter, np.asarray, np.sum, abs, lambda x: x + 1, lambda x: 2 * x, lambda x: x < 1,
        lambda x: x == 1, lambda x: x @ x, lambda x: np.ones(1) + x, lambda x: np.add(x, 1), lambda x: 1 in x,
        lambda x: np.copyto(np.ones(1), x), lambda x: x[np.array([0])], lambda x: x.sum(), lambda x: np.float32(x),
    ],
)
def test_nothing_turns_into_host_values_unasked(use):
    with pytest.raises((TypeError, AttributeError)):
        use(cupy.zeros(1))


def test_views_share_memory():
    x = cupy.asarray(np.arange(12.0))
    x.reshape(3, 4)[1:, 2].fill(-1)
    assert host(x) == [0, 1, 2, 3, 4, 5, -1, 7, 8, 9, -1, 11]
    assert host(x[2:4].view(np.int64).view(np.float64)) == [2, 3]
    assert (len(x), x.nbytes, x[::2].flags.c_contiguous, x[3].shape) == (12, 96, False, ())
    x[:3] = x[9:]
    assert host(x[:3]) == [9, -1, 11]


def test_arrays_of_other_libraries_are_taken_without_a_copy():
    x = cupy.zeros((2, 3), np.float32)
    foreign = types.SimpleNamespace(__cuda_array_interface__=x[1:].__cuda_array_interface__)
    cupy.asarray(foreign).fill(7)
    cupy.from_dlpack(x[:1]).fill(3)
    assert host(x) == [[3] * 3, [7] * 3]
    with pytest.raises(ValueError, match="does not lie on a CUDA device"):
        cupy.from_dlpack(np.zeros(3))


def test_memory_has_an_end():
    with altered(total=device.used + 1000):
        x = cupy.zeros(100)
        with pytest.raises(OutOfMemoryError, match="Out of memory allocating 800 bytes"):
            cupy.zeros(100)
        assert cupy.cuda.runtime.memGetInfo()[0] == 200
        del x
        cupy.zeros(100)


def test_an_allocator_of_ones_own_is_asked():
    def refuse(size):
        raise MemoryError(f"{size} bytes")

    with cupy.cuda.using_allocator(refuse), pytest.raises(MemoryError, match="24 bytes"):
        cupy.empty(3)
    cupy.empty(3)


@pytest.mark.parametrize("call", [cupy.cuda.runtime.getDeviceCount, lambda: cupy.empty(1), cupy.cuda.Device])
def test_a_broken_device_says_so(call):
    with altered(failure=(100, "cudaErrorNoDevice: no CUDA-capable device is detected")):
        with pytest.raises(CUDARuntimeError, match="no CUDA-capable device") as raised:
            call()
        assert raised.value.status == 100
    call()


def test_what_is_done_is_counted(stream):
    with simulated_cupy.counting() as seen:
        x = cupy.zeros(3)
        x.get()
        stream.synchronize()
    assert seen == {"allocations": 1, "copies to host": 1, "synchronisations": 2} | dict.fromkeys(
        set(seen) - {"allocations", "copies to host", "synchronisations"}, 0
    )


# ---- streams


def test_work_waits_until_somebody_waits_for_it(stream):
    memory, values = pinned(2)
    x = cupy.zeros(2)
    x.data.copy_to_host_async(memory.ptr, 16, stream)
    assert np.isnan(values).all()
    stream.synchronize()
    assert values.tolist() == [0, 0]


def test_pinned_memory_is_read_when_the_copy_runs(stream):
    memory, values = pinned(2)
    x, y, z = cupy.empty(2), cupy.empty(2), cupy.empty(2)
    plain = np.ones(2)
    values[:] = 1
    x.data.copy_from_host_async(memory.ptr, 16, stream)
    y.set(values)
    z.set(plain)
    values[:] = plain[:] = 2  # too early for what is pinned
    assert (host(x), host(y), host(z)) == ([2, 2], [2, 2], [1, 1])


def test_an_asynchronous_copy_needs_pinned_memory(stream):
    with pytest.raises(ValueError, match="needs pinned memory"):
        cupy.empty(2).data.copy_from_host_async(np.zeros(2).ctypes.data, 16, stream)


def test_copies_stay_within_the_memory(stream):
    with pytest.raises(CUDARuntimeError, match="cudaErrorInvalidValue: 24 bytes"):
        cupy.empty(2).data.copy_from_device_async(cupy.empty(3).data, 24, stream)


def test_streams_know_of_each_other_through_events_only(stream):
    other = cupy.cuda.Stream(non_blocking=True)
    x, y = cupy.zeros(1), cupy.zeros(1)
    stream.synchronize()
    with other:
        x.fill(5)
        event = other.record()
    y[...] = x  # does not wait
    assert host(y) == [0]
    stream.wait_event(event)
    y[...] = x
    assert host(y) == [5]


# ---- kernels


def test_a_kernel_runs_in_its_stream(stream):
    x = cupy.asarray(np.arange(3, dtype=np.float32))
    scale(x, 10)()
    assert host(x) == [0, 10, 20]


@pytest.mark.parametrize(
    "argument, words",
    [
        (1.0, "argument 1 of scale must be float32, got float"),
        (np.float64(1), "argument 1 of scale must be float32, got float64"),
        (np.zeros(1, np.float32), "argument 1 of scale lies on the host"),
    ],
)
def test_arguments_are_those_of_the_kernel(argument, words):
    kernel = cupy.RawModule(code=TEXT, options=("-DEXTRA=0",)).get_function("scale")
    with pytest.raises(TypeError, match=words):
        kernel((1,), (64,), (cupy.zeros(3, np.float32), argument, np.int64(3)))


def test_a_write_beside_an_array_is_found(stream):
    scale(cupy.zeros(3, np.float32), 10, extra=1)()
    with pytest.raises(RuntimeError, match="scale: wrote outside the memory of array argument 0"):
        stream.synchronize()


# ---- graphs


def test_a_graph_is_launched_again_and_again_with_its_arguments_frozen(stream):
    x = cupy.asarray(np.ones(2, np.float32))
    launch = scale(x, 3)
    stream.begin_capture()
    launch()
    graph = stream.end_capture()
    assert host(x) == [1, 1], "capturing runs nothing"
    graph.launch()
    graph.launch()
    assert host(x) == [9, 9]


@pytest.mark.parametrize(
    "use",
    [
        lambda s, x: cupy.empty(1),
        lambda s, x: x.get(),
        lambda s, x: x.set(np.zeros(1)),
        lambda s, x: x.data.copy_to_host(np.zeros(1).ctypes.data, 8),
        lambda s, x: s.synchronize(),
        lambda s, x: cupy.cuda.Event().synchronize(),
        lambda s, x: cupy.cuda.alloc_pinned_memory(8),
        lambda s, x: cupy.RawModule(code=TEXT).compile(),
        lambda s, x: s.begin_capture(),
        lambda s, x: x.data.memset_async(0, 8, cupy.cuda.Stream(non_blocking=True)),
    ],
)
def test_what_must_not_be_captured_is_refused(stream, use):
    x = cupy.zeros(1)
    stream.begin_capture()
    with pytest.raises(CUDARuntimeError, match="while a stream is capturing"):
        use(stream, x)
    stream.end_capture()
    use_after = cupy.zeros(1).get()
    assert use_after.tolist() == [0]


def test_a_graph_keeps_no_array_alive(stream):
    x = cupy.zeros(2)
    stream.begin_capture()
    x.fill(1)
    graph = stream.end_capture()
    del x
    gc.collect()
    graph.launch()
    with pytest.raises(CUDARuntimeError, match="the graph uses memory that was freed"):
        stream.synchronize()


@pytest.mark.parametrize("waits", [True, False])
def test_forked_work_runs_in_the_order_least_meant(stream, waits):
    other, x = cupy.cuda.Stream(non_blocking=True), cupy.zeros(1)
    stream.begin_capture()
    other.wait_event(stream.record())
    with other:
        x.fill(2)
        join = other.record()
    if waits:
        stream.wait_event(join)
    x.fill(1)
    stream.wait_event(join)
    stream.end_capture().launch()
    assert host(x) == ([1] if waits else [2])


def test_forked_work_must_be_waited_for(stream):
    other = cupy.cuda.Stream(non_blocking=True)
    x = cupy.zeros(1)
    stream.begin_capture()
    other.wait_event(stream.record())
    with other:
        x.fill(1)
    with pytest.raises(CUDARuntimeError, match="cudaErrorStreamCaptureUnjoined"):
        stream.end_capture()


# ---- beside the real one


def names(module, prefix="cupy"):
    """Every public name that the simulated modules have, and those of their classes."""
    for name, content in vars(module).items():
        if name.startswith("_") or getattr(content, "__module__", "") == "numpy":
            continue
        yield f"{prefix}.{name}"
        if isinstance(content, types.ModuleType):
            yield from names(content, f"{prefix}.{name}")
        elif isinstance(content, type):
            yield from (f"{prefix}.{name}.{part}" for part in vars(content) if not part.startswith("_"))


INTERNAL = {"simulated", "add", "run", "issued", "finished", "range", "nodes", "captured"}  # of ours, for ourselves


def test_the_real_cupy_has_all_names_of_the_simulated_one():
    wanted = [name for name in names(cupy) if name.rsplit(".")[-1] not in INTERNAL]
    code = """
import functools, json, sys
try:
    import cupy
except ImportError:
    sys.exit(3)
def missing(name):
    try:
        functools.reduce(getattr, name.split(".")[1:], cupy)
    except AttributeError:
        return True
print(json.dumps([name for name in json.load(sys.stdin) if missing(name)]))
"""
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(wanted), capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("CuPy is not installed")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
