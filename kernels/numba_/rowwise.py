"""Numbers that lie side by side, as vectors: copies, sums, maxima and the check that they are finite."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnn.kernels.numba_.lowering import inlined
from fastnn.kernels.numba_.vector import I32, I64, Vector, loop


@intrinsic
def fetch_row(typing, address, length, zero):
    """Bring so many bytes into the cache while other work goes on: a row that is next, and far from this one."""
    signature = types.void(types.intp, types.intp, zero)

    def generate(context, builder, signature, args):
        v = Vector(builder, zero)

        def step(i, _):
            v.fetch(builder.add(args[0], i))
            return []

        loop(builder, args[1], 64, [], step)
        return context.get_dummy_value()

    return signature, generate


def row_copy(overlaps: bool):
    """Copy numbers that lie side by side, by whole vectors; then by one that `overlaps` the last of them, or by parts.

    By one vector is quicker, but a vector that was stored by two can only be loaded when both have reached the cache:
    parts are for what is needed at once. So is what was stored under a mask, and nothing is masked.
    """

    @intrinsic
    def run(typing, source, target, count, zero):
        signature = types.void(types.intp, types.intp, types.intp, zero)

        def generate(context, builder, signature, args):
            source, target, count, _ = args
            v = Vector(builder, zero)

            def copy(lanes, at):
                kind = ir.VectorType(v.real, lanes).as_pointer()
                value = builder.load(builder.inttoptr(v.address(source, at), kind))
                value.align = v.bytes
                builder.store(value, builder.inttoptr(v.address(target, at), kind)).align = v.bytes
                return []

            def by_parts(lanes, done):
                whole = builder.and_(builder.sub(count, done), I64(-lanes))
                loop(builder, whole, lanes, [], lambda i, _: copy(lanes, builder.add(done, i)))
                if lanes > 1:
                    by_parts(lanes // 2, builder.add(done, whole))

            def by(lanes):
                last = builder.sub(count, I64(lanes))
                with builder.if_else(builder.icmp_signed(">=", last, I64(0))) as (enough, few):
                    with enough:
                        loop(builder, last, lanes, [], lambda i, _: copy(lanes, i))
                        copy(lanes, last)
                    with few:
                        if lanes > 1:
                            by(lanes // 2)

            if overlaps:
                by(v.lanes)
            else:
                by_parts(v.lanes, I64(0))
            return context.get_dummy_value()

        return signature, generate

    return run


copy_row, copy_by_parts = row_copy(True), row_copy(False)


@intrinsic
def copy_checked(typing, source, target, count, zero):
    """Copy at least one whole vector of numbers that lie side by side; returns what `zero_if_finite` does of them."""
    signature = zero(types.intp, types.intp, types.intp, zero)

    def generate(context, builder, signature, args):
        source, target, count, _ = args
        v = Vector(builder, zero)

        def copy(i, sums):
            value = v.load(v.address(source, i))
            v.store(value, v.address(target, i))
            return [v.fma(value, v.zero, sums[0])]

        last = builder.sub(count, I64(v.lanes))
        found = copy(last, loop(builder, last, v.lanes, [v.zero], copy))  # the last overlaps the one before
        return builder.extract_element(v.totals(found), I32(0))

    return signature, generate


@intrinsic
def zero_if_finite(typing, address, count, zero):
    """The sum of numbers that lie side by side, each times 0: that is 0, or NaN where one is NaN or infinite."""
    signature = zero(types.intp, types.intp, zero)

    def generate(context, builder, signature, args):
        first, count, _ = args
        v = Vector(builder, zero)
        chains = 4
        whole = builder.mul(builder.sdiv(count, I64(chains * v.lanes)), I64(chains * v.lanes))

        def step(i, sums):
            found = [v.load(v.address(first, i, I64(c * v.lanes))) for c in range(chains)]
            return [v.fma(x, v.zero, total) for x, total in zip(found, sums, strict=True)]

        sums = loop(builder, whole, chains * v.lanes, [v.zero] * chains, step)
        for c in range(chains):
            at = builder.add(whole, I64(c * v.lanes))
            sums[c] = v.fma(v.load(v.address(first, at), v.mask(builder.sub(count, at))), v.zero, sums[c])
        total = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
        return builder.extract_element(v.totals([total]), I32(0))

    return signature, generate


@intrinsic
def _vector_sum(typing, address, count, zero, total):
    """The sum, in the type of `total`, of numbers of the type of `zero` that lie side by side.

    Lane l of a vector adds every so manieth, a fixed tree the lanes.
    """
    signature = total(types.intp, types.intp, zero, total)

    def generate(context, builder, signature, args):
        first, count, _, _ = args
        v = Vector(builder, zero)
        w = Vector(builder, total, v.lanes)
        whole = builder.mul(builder.sdiv(count, I64(v.lanes)), I64(v.lanes))

        def add(i, sums, mask=None):
            value = v.load(v.address(first, i), mask)
            return [builder.fadd(sums[0], value if w.real == v.real else builder.fpext(value, w.type))]

        sums = add(whole, loop(builder, whole, v.lanes, [w.zero], add), v.mask(builder.sub(count, whole)))
        return builder.extract_element(w.totals(sums), I32(0))

    return signature, generate


@intrinsic
def dot(typing, a, b, count, zero):
    """The sum of a[k] b[k], for numbers that lie side by side.

    By vectors of four, in two chains, and the rest one by one: so it can load numbers that were just stored by short
    vectors, or one by one, before they have reached the cache.
    """
    signature = zero(types.intp, types.intp, types.intp, zero)

    def generate(context, builder, signature, args):
        a, b, count, _ = args
        four, one = Vector(builder, zero, 4), Vector(builder, zero, 1)

        def add(v, first, last, sums):
            """Add the products from `first` up to `last` to some sums in turn; returns these, and where it ended."""
            step = len(sums) * v.lanes
            whole = builder.mul(builder.sdiv(builder.sub(last, first), I64(step)), I64(step))

            def products(k, sums):
                places = [builder.add(first, builder.add(k, I64(i * v.lanes))) for i in range(len(sums))]
                return [
                    v.fma(v.load(v.address(a, place)), v.load(v.address(b, place)), total)
                    for place, total in zip(places, sums, strict=True)
                ]

            return loop(builder, whole, step, sums, products), builder.add(first, whole)

        (even, odd), done = add(four, I64(0), count, [four.zero] * 2)
        (even,), done = add(four, done, count, [even])
        (rest,), _ = add(one, done, count, [one.zero])
        total = builder.extract_element(four.totals([builder.fadd(even, odd)]), I32(0))
        return builder.fadd(total, builder.extract_element(rest, I32(0)))

    return signature, generate


@intrinsic
def _vector_max(typing, address, count, zero):
    """The largest of at least one whole vector of numbers that lie side by side; NaN counts as less than all others."""
    signature = zero(types.intp, types.intp, zero)

    def generate(context, builder, signature, args):
        first, count, _ = args
        v = Vector(builder, zero)

        def step(i, tops):
            return [v.larger(v.load(v.address(first, i)), tops[0])]

        last = v.load(v.address(first, builder.sub(count, I64(v.lanes))))  # overlaps, which does no harm here
        (top,) = loop(builder, builder.sub(count, I64(v.lanes - 1)), v.lanes, [last], step)
        return builder.extract_element(v.reduce(v.larger, top), I32(0))

    return signature, generate


@inlined
def shift(logits, row):
    """row = logits - max of the logits, which is returned."""
    top = largest_of(logits)
    for j in range(len(row)):
        row[j] = logits[j] - top
    return top


@inlined
def normalize(row):
    """Divide a row by its sum, which is returned."""
    total = sum_of(row)
    share = row.dtype.type(1) / total
    for j in range(len(row)):
        row[j] *= share
    return total


@inlined
def largest_of(row):
    """The largest number of a row."""
    if len(row) >= 16:
        return _vector_max(row.ctypes.data, len(row), row.dtype.type(0))
    top = row[0]
    for j in range(1, len(row)):
        top = max(top, row[j])
    return top


@inlined
def sum_of(row):
    """The sum of a row, in the same order whatever thread asks for it; a short row is summed from left to right."""
    return sum_as(row, row.dtype.type(0))


@inlined
def sum_as(row, zero):
    """The same, in the type of `zero`."""
    if len(row) >= 16:
        return _vector_sum(row.ctypes.data, len(row), row.dtype.type(0), zero)
    total = zero + row[0]
    for j in range(1, len(row)):
        total += row[j]
    return total
