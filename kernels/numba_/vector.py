"""Vectors of the host CPU as LLVM instructions: the register tiles from which all matrix products are made.

A tile keeps R rows times V vectors of results in registers while k runs over a block of the sum. Where sums are cut
follows from shapes alone (`blocking.py`), so the bits of a result do not depend on who made which rows.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnn.kernels.numba_.compiling import host

I32, I64 = ir.IntType(32), ir.IntType(64)
# Processors with 64-byte vectors, for when NUMBA_CPU_NAME names one.
WIDE = ("avx512", "znver4", "znver5", "icelake", "cascadelake", "cooperlake", "tigerlake", "rapids", "graniterapids")


def _vector_bytes() -> int:
    """The width of the widest vectors with fused multiply-add: of this host, or of the one that stands for it."""
    name, features = host()
    if name != llvm.get_host_cpu_name():
        return 64 if any(part in name for part in WIDE) else 32
    if "+avx512f" in features:
        return 64
    return 32 if "+avx2" in features else 16


VECTOR_BYTES = _vector_bytes()
AHEAD = 16  # rows that are copied: so far ahead they are brought into the cache


def lanes(real: types.Type) -> int:
    """How many numbers of this type a vector holds."""
    return VECTOR_BYTES // (real.bitwidth // 8)


class Vector:
    """Emits loads, stores and arithmetic on vectors of one element type."""

    def __init__(self, builder: ir.IRBuilder, real: types.Type, count: int = 0) -> None:
        self.builder = builder
        self.lanes = count or lanes(real)
        self.bytes = real.bitwidth // 8
        self.real = ir.FloatType() if real == types.float32 else ir.DoubleType()
        self.type = ir.VectorType(self.real, self.lanes)
        self.mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        self.suffix = f"v{self.lanes}f{real.bitwidth}"
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def _call(self, name: str, result: ir.Type, arguments: list) -> ir.Value:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def address(self, base: ir.Value, *offsets: ir.Value) -> ir.Value:
        """base plus offsets, counted in elements."""
        for offset in offsets:
            base = self.builder.add(base, self.builder.mul(offset, I64(self.bytes)))
        return base

    def splat(self, value: ir.Value, kind: ir.VectorType | None = None) -> ir.Value:
        kind = kind or self.type
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
        return self._pick(one, one, [0] * kind.count)

    def broadcast(self, address: ir.Value) -> ir.Value:
        pointer = self.builder.inttoptr(address, self.real.as_pointer())
        return self.splat(self.builder.load(pointer))

    def mask(self, count: ir.Value) -> ir.Value:
        """The first `count` lanes."""
        kind = ir.VectorType(I32, self.lanes)
        iota = ir.Constant(kind, list(range(self.lanes)))
        return self.builder.icmp_signed("<", iota, self.splat(self.builder.trunc(count, I32), kind))

    def load(self, address: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        pointer = self.builder.inttoptr(address, self.type.as_pointer())
        if mask is None:
            value = self.builder.load(pointer)
            value.align = self.bytes
            return value
        return self._call(f"llvm.masked.load.{self.suffix}.p0", self.type, [pointer, I32(self.bytes), mask, self.zero])

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None = None) -> None:
        pointer = self.builder.inttoptr(address, self.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer).align = self.bytes
        else:
            name = f"llvm.masked.store.{self.suffix}.p0"
            self._call(name, ir.VoidType(), [value, pointer, I32(self.bytes), mask])

    def fetch(self, address: ir.Value) -> None:
        """Bring a line of memory to the second-level cache."""
        pointer = self.builder.inttoptr(address, ir.IntType(8).as_pointer())
        self._call("llvm.prefetch.p0", ir.VoidType(), [pointer, I32(0), I32(2), I32(1)])

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._call(f"llvm.fma.{self.suffix}", self.type, [a, b, c])

    def totals(self, values: list[ir.Value]) -> ir.Value:
        """A vector whose lane i is the sum of the lanes of values[i]; every sum is made by the same tree.

        Each round adds the two halves of every group of lanes, of two vectors at once while there are two.
        """
        group = self.lanes
        while group > 1:
            half = group // 2
            pairs = list(zip(values[::2], values[1::2], strict=True)) if len(values) > 1 else [(values[0], values[0])]
            low = [g + i for g in range(0, 2 * self.lanes, group) for i in range(half)]
            high = [i + half for i in low]
            values = [self.builder.fadd(self._pick(a, b, low), self._pick(a, b, high)) for a, b in pairs]
            group = half
        return values[0]

    def reduce(self, combine, value: ir.Value) -> ir.Value:
        """A vector whose every lane is all lanes of `value`, combined by a tree."""
        width = self.lanes // 2
        while width:
            value = combine(value, self._pick(value, value, [i ^ width for i in range(self.lanes)]))
            width //= 2
        return value

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of each two lanes; b where one of them is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def _pick(self, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), order))

    def store_lanes(self, value: ir.Value, first: int, count: int, address: ir.Value) -> None:
        """Store `count` lanes from lane `first`."""
        part = self._pick(value, value, list(range(first, first + count)))
        self.builder.store(part, self.builder.inttoptr(address, part.type.as_pointer())).align = self.bytes


def loop(builder: ir.IRBuilder, count: ir.Value, step: int, carried: list, body) -> list:
    """for k in range(0, count, step): carried = body(k, carried); returns what is carried at the end."""
    before = builder.block
    head = builder.append_basic_block("head")
    inside = builder.append_basic_block("inside")
    done = builder.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(I64)
    k.add_incoming(I64(0), before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", k, count), inside, done)
    builder.position_at_end(inside)
    results = body(k, values)
    following = builder.add(k, I64(step))
    k.add_incoming(following, builder.block)
    for phi, value in zip(values, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return values


def outer_tile(rows: int, vectors: int, fetches: bool = False, packs: bool = False):
    """c[r, j] = sum_k a[r, k] b[k, j] + more[r, j] for `rows` rows and at most `vectors` vectors of columns.

    Arrays are given by the address of their first element and by strides in elements: a[r, k] lies at
    r * a_row + k * a_step; b, c and more have contiguous columns. A `more` of 0 adds nothing. Vectors are masked to
    the columns that exist. `zero` carries the element type. A tile that `fetches` brings what the next one will
    read of a into the cache, where that is strewn over memory: rows the processor fetches itself. One that `packs`
    copies its columns of b to `packed`, row by row, for others to read them there, and fetches the columns after them.
    """

    @intrinsic
    def tile(typing, a, a_row, a_step, b, b_row, more, more_row, c, c_row, packed, k_count, columns, zero):
        signature = types.void(*[types.intp] * 12, zero)

        def generate(context, builder, signature, args):
            a, a_row, a_step, b, b_row, more, more_row, c, c_row, packed, k_count, columns, _ = args
            v = Vector(builder, zero)
            masks = [v.mask(builder.sub(columns, I64(j * v.lanes))) for j in range(vectors)]
            if vectors == 2:
                masks[0] = None  # a panel of two vectors fills the first

            def load_row(base):
                return [v.load(v.address(base, I64(j * v.lanes)), masks[j]) for j in range(vectors)]

            below = v.address(a, builder.mul(a_row, I64(rows)))

            def step(k, sums):
                if fetches:
                    v.fetch(v.address(below, builder.mul(k, a_step)))
                a_k, b_k = v.address(a, builder.mul(k, a_step)), load_row(v.address(b, builder.mul(k, b_row)))
                for j in range(vectors if packs else 0):
                    at = v.address(packed, builder.mul(k, I64(vectors * v.lanes)), I64(j * v.lanes))
                    v.store(b_k[j], at, masks[j])
                    v.fetch(v.address(b, builder.mul(k, b_row), I64((vectors + j) * v.lanes)))
                results = []
                for r in range(rows):
                    scalar = v.broadcast(v.address(a_k, builder.mul(a_row, I64(r))))
                    results += [v.fma(scalar, b_k[j], sums[r * vectors + j]) for j in range(vectors)]
                return results

            sums = loop(builder, k_count, 1, [v.zero] * (rows * vectors), step)
            plain = builder.block
            with builder.if_then(builder.icmp_signed("!=", more, I64(0))):
                added = [load_row(v.address(more, builder.mul(more_row, I64(r)))) for r in range(rows)]
                with_more = [builder.fadd(total, added[i // vectors][i % vectors]) for i, total in enumerate(sums)]
                adding = builder.block
            for i, total in enumerate(sums):
                result = builder.phi(v.type)
                result.add_incoming(total, plain)
                result.add_incoming(with_more[i], adding)
                sums[i] = result
            for i, total in enumerate(sums):
                r, j = divmod(i, vectors)
                at = v.address(c, builder.mul(c_row, I64(r)), I64(j * v.lanes))
                v.store(total, at, masks[j])
            return context.get_dummy_value()

        return signature, generate

    return tile


def row_tile(vectors: int, chains: int):
    """c[j] = sum_k a[k] b[k, j] + more[j] for one row and at most `vectors` vectors of columns.

    a[k] lies at k * a_step, b[k, j] at k * b_row + j. A lone row has few sums, which would wait for each other: so
    each is made in chains, of every so manieth product, which are added in pairs at the end.
    """

    @intrinsic
    def tile(typing, a, a_step, b, b_row, more, c, k_count, columns, zero):
        signature = types.void(*[types.intp] * 8, zero)

        def generate(context, builder, signature, args):
            a, a_step, b, b_row, more, c, k_count, columns, _ = args
            v = Vector(builder, zero)
            places = [I64(j * v.lanes) for j in range(vectors)]
            masks = [v.mask(builder.sub(columns, place)) for place in places]

            def add(k, sums):
                scalar, b_k = v.broadcast(v.address(a, builder.mul(k, a_step))), v.address(b, builder.mul(k, b_row))
                loaded = [v.load(v.address(b_k, place), mask) for place, mask in zip(places, masks, strict=True)]
                return [v.fma(scalar, value, total) for value, total in zip(loaded, sums, strict=True)]

            def step(k, sums):
                results = []
                for i in range(chains):
                    results += add(builder.add(k, I64(i)), sums[i * vectors : (i + 1) * vectors])
                return results

            whole = builder.mul(builder.sdiv(k_count, I64(chains)), I64(chains))
            sums = loop(builder, whole, chains, [v.zero] * (chains * vectors), step)
            sums[:vectors] = loop(builder, builder.sub(k_count, whole), 1, sums[:vectors], lambda k, first: add(
                builder.add(whole, k), first
            ))  # fmt: skip
            while len(sums) > vectors:
                half = len(sums) // 2
                sums = [builder.fadd(low, high) for low, high in zip(sums[:half], sums[half:], strict=True)]
            given = builder.icmp_signed("!=", more, I64(0))
            for total, place, mask in zip(sums, places, masks, strict=True):
                added = v.load(v.address(more, place), builder.and_(mask, v.splat(given, v.mask_type)))
                v.store(builder.fadd(total, added), v.address(c, place), mask)
            return context.get_dummy_value()

        return signature, generate

    return tile


@intrinsic
def transposed_block(typing, source, stride, rows, columns, target, target_stride, zero):
    """Write the columns of a block as rows; it has at most as many rows and columns as a vector has lanes."""
    signature = types.void(*[types.intp] * 6, zero)

    def generate(context, builder, signature, args):
        source, stride, rows, columns, target, target_stride, _ = args
        v = Vector(builder, zero)
        lanes = range(v.lanes)

        def mask(i, count, width):
            """Line i of a block of `count` lines."""
            return v.mask(builder.select(builder.icmp_signed("<", I64(i), count), width, I64(0)))

        lines = [v.load(v.address(source, builder.mul(stride, I64(i))), mask(i, rows, columns)) for i in lanes]
        half = v.lanes // 2
        while half:  # exchange what is off the diagonal, in quarters of squares of twice `half`
            left = [n if not n & half else v.lanes + n - half for n in lanes]
            right = [n + half if not n & half else v.lanes + n for n in lanes]
            for i in lanes:
                if not i & half:
                    a, b = lines[i], lines[i + half]
                    lines[i], lines[i + half] = v._pick(a, b, left), v._pick(a, b, right)
            half //= 2
        for i in lanes:
            v.store(lines[i], v.address(target, builder.mul(target_stride, I64(i))), mask(i, columns, rows))
        return context.get_dummy_value()

    return signature, generate


def columns_copy(vectors: int):
    """Copy `columns` numbers, at most `vectors` vectors wide, of each of some rows, from one stride to another."""

    @intrinsic
    def copy(typing, source, stride, target, target_stride, rows, columns, zero):
        signature = types.void(*[types.intp] * 6, zero)

        def generate(context, builder, signature, args):
            source, stride, target, target_stride, rows, columns, _ = args
            v = Vector(builder, zero)
            masks = [v.mask(builder.sub(columns, I64(j * v.lanes))) for j in range(vectors)]

            def step(r, _):
                a = v.address(source, builder.mul(r, stride))
                b = v.address(target, builder.mul(r, target_stride))
                for j, mask in enumerate(masks):
                    v.fetch(v.address(a, builder.mul(I64(AHEAD), stride), I64(j * v.lanes)))
                    v.store(v.load(v.address(a, I64(j * v.lanes)), mask), v.address(b, I64(j * v.lanes)), mask)
                return []

            loop(builder, rows, 1, [], step)
            return context.get_dummy_value()

        return signature, generate

    return copy


def inner_tile(rows: int, columns: int):
    """c[r, j] = sum_k a[r, k] b[j, k] + bias[j], a and b with contiguous k: for a product with a transposed matrix.

    Lane l of a vector sums the k that leave l over when divided by the number of lanes; a fixed tree adds the lanes.
    """

    @intrinsic
    def tile(typing, a, a_row, b, b_row, bias, c, c_row, k_count, zero):
        signature = types.void(*[types.intp] * 8, zero)

        def generate(context, builder, signature, args):
            a, a_row, b, b_row, bias, c, c_row, k_count, _ = args
            v = Vector(builder, zero)

            def add(k, sums, mask=None):
                left = [v.load(v.address(a, builder.mul(a_row, I64(r)), k), mask) for r in range(rows)]
                right = [v.load(v.address(b, builder.mul(b_row, I64(j)), k), mask) for j in range(columns)]
                pairs = [(r, j) for r in left for j in right]
                return [v.fma(r, j, total) for (r, j), total in zip(pairs, sums, strict=True)]

            whole = builder.mul(builder.sdiv(k_count, I64(v.lanes)), I64(v.lanes))
            sums = loop(builder, whole, v.lanes, [v.zero] * (rows * columns), add)
            sums = add(whole, sums, v.mask(builder.sub(k_count, whole)))
            given = builder.icmp_signed("!=", bias, I64(0))
            width = min(columns, v.lanes)  # a short vector holds a part of a row of results, a long one several rows
            mask = v.mask(builder.select(given, I64(width), I64(0)))  # no lane of address 0
            for first in range(0, rows * columns, v.lanes):
                part = v.load(v.address(bias, I64(first % columns)), mask)
                added = v._pick(part, part, [i % width for i in range(v.lanes)])
                totals = builder.fadd(v.totals(sums[first : first + v.lanes]), added)
                for i in range(first, min(first + v.lanes, rows * columns), width):
                    r, j = divmod(i, columns)
                    v.store_lanes(totals, i - first, width, v.address(c, builder.mul(c_row, I64(r)), I64(j)))
            return context.get_dummy_value()

        return signature, generate

    return tile
