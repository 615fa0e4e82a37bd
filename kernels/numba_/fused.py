"""A small step as one function: its kernels linked together and simplified for the shapes at hand.

A launch costs some 30 ns, and a kernel for all shapes takes its time to find its way; in a small network that is most
of a step. So the modules of a program's kernels are linked below a function that calls them in turn, with argument
blocks of which only the addresses are not constant; LLVM puts the calls in line and drops what these shapes do not
need. It does not reorder sums, so the bits are the same. This takes LLVM up to some seconds: a thread does it while
steps are replayed as before, and the cache on disk keeps the result, which depends on kernels and shapes alone.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from fastnn.capture import Launch, Port
from fastnn.kernels.contract import ITERATION, POSITION, ROW
from fastnn.kernels.numba_ import arguments, compiling, loading, native

_functions: dict[str, Callable[..., int]] = {}  # by name: models of the same shapes share them
MOST_LAUNCHES = 48  # a longer program would take LLVM too long
SMALL_BYTES = 32 * 1024  # of the arrays of a launch: where they are more, finding the way is little of its time


class FusedStep:
    """The steps of a plan for one thread as a native function, once `function` is there."""

    def __init__(self, groups: list[list[Any]], blocks: dict[int, np.ndarray], rows: int) -> None:
        self.launches = [launch for phase in groups for group in phase for launch in group.launches]
        sizes = [sum(v.nbytes for v in launch.arrays if isinstance(v, np.ndarray)) for launch in self.launches]
        whole = all(group.tile(group.share[1]) >= group.share[1] for phase in groups for group in phase)
        self.fits = whole and len(sizes) <= MOST_LAUNCHES and sum(sizes) <= len(sizes) * SMALL_BYTES
        self._phases = [len([launch for group in phase for launch in group.launches]) for phase in groups]
        self._blocks, self._rows = [blocks[id(launch)] for launch in self.launches], rows
        self._table = np.array([block.ctypes.data for block in self._blocks], np.int64)
        self._table_at = self._table.ctypes.data
        self._thread: threading.Thread | None = None
        self.function: Callable[..., int] | None = None

    def run(self, steps: int, local_at: int, fault_at: int) -> int:
        """Run up to `steps` steps; returns how many were finished before a fault."""
        assert self.function is not None
        return self.function(steps, self._table_at, local_at, fault_at)

    def load(self) -> bool:
        """Take the function of a model of the same shapes, or of an earlier process; returns whether it is there."""
        if self.fits and self.name in _functions:
            self.function = _functions[self.name]
        elif self.fits:
            code = loading.cache().load(self.name)
            if code is not None:
                self._use(code)
        return self.function is not None

    def begin(self) -> None:
        """Make the function in a thread, if that was not begun and nobody else made it."""
        if self.fits and self._thread is None and self.function is None and not self.load():
            self._thread = threading.Thread(target=self.make, name="fastnn-fuse")
            self._thread.start()

    def make(self) -> None:
        """Make the function and keep it on disk."""
        modules = {key: loading.bitcode(*key) for key in self._kernels()}
        if any(module is None for module in modules.values()):
            return  # the cache was cleared: launches go on one by one
        with loading.lock:
            code = _optimized(self.text, {_symbol(*key): module for key, module in modules.items()})
        if all(native.is_built_in(name) for name, _ in modules):
            loading.cache().store(self.name, code)
        self._use(code)

    def _use(self, code: bytes) -> None:
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 4)
        with loading.lock:
            self.function = _functions[self.name] = prototype(loading.load(code, "fastnn_step"))

    def _kernels(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(map(_key, self.launches)))

    @functools.cached_property
    def name(self) -> str:
        """The name in the cache, which tells kernels and shapes, and what the code of a user's own kernels is."""
        own = [loading.bitcode(*key) or b"" for key in self._kernels() if not native.is_built_in(key[0])]
        return f"step-{hashlib.sha256(b''.join([self.text.encode(), *own])).hexdigest()[:24]}.o"

    @property
    def text(self) -> str:
        """The function in LLVM's language: (steps, table of blocks, local, address of the fault word) -> steps done."""
        declare, begin, end = compiling.flushing()
        lines = [declare, *(f"declare void @{_symbol(*key)}(i64, i64, i64, i64)" for key in self._kernels())]
        lines += ["define i64 @fastnn_step(i64 %steps, i64 %table, i64 %local, i64 %fault_at) {", "entry:", begin]
        lines += ["  %fault = inttoptr i64 %fault_at to ptr", "  %clock = inttoptr i64 %local to ptr"]
        for number, (launch, block) in enumerate(zip(self.launches, self._blocks, strict=True)):
            lines += _block_text(number, launch, block)
        last = len(self._phases) - 1
        lines += [
            "  br label %next", "next:", f"  %step = phi i64 [0, %entry], [%following, %after{last}]",
            "  %more = icmp slt i64 %step, %steps", "  br i1 %more, label %begin, label %end", "begin:",
        ]  # fmt: skip
        number = 0
        for phase, count in enumerate(self._phases):
            for launch in self.launches[number : number + count]:
                symbol, stop = _symbol(*_key(launch)), launch.count
                lines.append(f"  call void @{symbol}(i64 %block{number}, i64 0, i64 {stop}, i64 %local)")
                number += 1
            lines += [f"  %seen{phase} = load i64, ptr %fault", f"  %bad{phase} = icmp ne i64 %seen{phase}, 0"]
            lines += [f"  br i1 %bad{phase}, label %end, label %after{phase}", f"after{phase}:"]
        for place, amount in ((POSITION, 1), (ITERATION, 1), (ROW, self._rows)):
            lines += [
                f"  %at{place} = getelementptr i64, ptr %clock, i64 {place}",
                f"  %old{place} = load i64, ptr %at{place}",
                f"  %new{place} = add i64 %old{place}, {amount}",
                f"  store i64 %new{place}, ptr %at{place}",
            ]
        lines += ["  %following = add i64 %step, 1", "  br label %next", "end:", end, "  ret i64 %step", "}"]
        lines.append(f"!0 = !{{i64 {arguments.SCRATCH + 1}, i64 0}}")
        return "\n".join(lines)


def _key(launch: Launch) -> tuple[str, str]:
    return launch.kernel.name, native.variant(launch)


def _symbol(name: str, dtype: str) -> str:
    return f"kernel_{name}_{dtype}"


def _block_text(number: int, launch: Launch, block: np.ndarray) -> list[str]:
    """A copy of an argument block on the stack: what may change from run to run is read, all else is constant.

    Of an address LLVM is told that it is none of the words that stand for something else, so that nobody asks.
    """
    changing: dict[int, str] = {}
    for place, array, value in zip(arguments.places(launch.kernel), launch.kernel.arrays, launch.arrays, strict=True):
        if isinstance(value, Port):
            changing |= {place: ", !range !0", place + 1: "", place + 2: ""}
        elif array.name != "clock" and block[place] not in (0, arguments.SCRATCH):
            changing[place] = ", !range !0"
    b = f"{number}_"
    lines = [
        f"  %entry{b} = inttoptr i64 %table to ptr", f"  %slot{b} = getelementptr i64, ptr %entry{b}, i64 {number}",
        f"  %there{b} = load ptr, ptr %slot{b}", f"  %copy{b} = alloca [{len(block)} x i64], align 8",
    ]  # fmt: skip
    for i, word in enumerate(block.tolist()):
        value = str(word)
        if i in changing:
            value = f"%word{b}{i}"
            lines.append(f"  %from{b}{i} = getelementptr i64, ptr %there{b}, i64 {i}")
            lines.append(f"  {value} = load i64, ptr %from{b}{i}{changing[i]}")
        lines.append(f"  %to{b}{i} = getelementptr i64, ptr %copy{b}, i64 {i}")
        lines.append(f"  store i64 {value}, ptr %to{b}{i}")
    return [*lines, f"  %block{number} = ptrtoint ptr %copy{b} to i64"]


def _optimized(text: str, modules: dict[str, bytes]) -> bytes:
    """Machine code of the function with all it calls in line."""
    program = llvm.parse_assembly(text)
    for symbol, bitcode in modules.items():
        module = llvm.parse_bitcode(bitcode)
        module.get_function("fastnn_kernel").name = symbol
        program.link_in(module)
    for function in program.functions:
        if not function.is_declaration and function.name != "fastnn_step":
            function.linkage = "internal"
            function.add_function_attribute("alwaysinline")
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = options.slp_vectorization = True
    machine = compiling.machine()
    builder = llvm.create_pass_builder(machine, options)
    pruning = llvm.create_new_module_pass_manager()  # so that the other passes see half of it
    pruning.add_always_inliner_pass()
    pruning.add_global_dead_code_eliminate_pass()
    pruning.add_sroa_pass()
    pruning.add_sccp_pass()
    pruning.add_instruction_combine_pass()
    pruning.add_simplify_cfg_pass()
    pruning.run(program, builder)
    builder.getModulePassManager().run(program, builder)
    return machine.emit_object(llvm.parse_assembly(_MASKED.sub(_unmasked, str(program))))


# A load or a store of the first lanes of a vector, in LLVM's language; the other lanes of what is loaded are 0.
_MASKED = re.compile(
    r"""^\ *(?:(?P<loaded>%\S+)\ =\ )?(?:tail\ )?call\ .*@llvm\.masked\.\w+\.v(?P<lanes>\d+)f(?P<bits>32|64)\.p0
    \((?:<\S+\ x\ \w+>\ (?P<stored>%\S+),\ )?ptr\ .*?(?P<align>align\ \d+)\ (?P<at>%\S+)
    ,\ <\S+\ x\ i1>\ <(?P<some>(?:i1\ true,\ )+)(?:i1\ false(?:,\ )?)+>
    (?:,\ <\S+\ x\ \w+>\ (?:zeroinitializer|<(?:\w+\ (?:poison|0\.0+e\+00)(?:,\ )?)+>))?\).*$""",
    re.MULTILINE | re.VERBOSE,
)


def _unmasked(match: re.Match) -> str:
    """The same without a mask, where a shorter vector has these lanes: it can be loaded before it is in the cache."""
    lanes, some = int(match["lanes"]), match["some"].count("true")
    if some.bit_count() > 1:
        return match[0]
    real = {"32": "float", "64": "double"}[match["bits"]]
    whole, short, at = f"<{lanes} x {real}>", f"<{some} x {real}>", f"{match['at']}, {match['align']}"
    if match["stored"]:
        order = ", ".join(f"i32 {i}" for i in range(some))
        first = f"%first{match.start()}"
        return f"""  {first} = shufflevector {whole} {match["stored"]}, {whole} poison, <{some} x i32> <{order}>
  store {short} {first}, ptr {at}"""
    order = ", ".join(f"i32 {min(i, some)}" for i in range(lanes))
    loaded, first = match["loaded"], f"{match['loaded']}.first"
    return f"""  {first} = load {short}, ptr {at}
  {loaded} = shufflevector {short} {first}, {short} zeroinitializer, <{lanes} x i32> <{order}>"""
