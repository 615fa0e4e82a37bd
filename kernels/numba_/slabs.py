"""Products of large weights, made slab by slab so that each thread needs only its own part of the weights.

In a small batch, moving the weights between cores costs more than multiplying by them. So a thread sums only the
products with those rows of the weights which it also updates: its slabs. `dense` cuts its sums at the same places,
and adds the slabs' sums in the same order, so the bits are the same. In the gradient of the input, those rows of the
weights make its columns.

A batch that is gathered for such a product is kept in two halves, the left columns of all rows before the right ones:
rows that two threads shared would move between the cores, since these fetch lines ahead, beyond what they need.
"""

from fastnn.kernels.contract import ROW
from fastnn.kernels.numba_.arguments import ROWS_WORD
from fastnn.kernels.numba_.dense import NONE, ONE, blocks, few_outputs, few_outputs_of_gradient, input_gradient, product
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import copy_checked, fetch_row
from fastnn.kernels.numba_.views import address


@function
def column_of(halves, inputs, column):
    """Where a column of the batch begins in its halves."""
    n, width = len(halves), halves.shape[1] // 2
    right = column - inputs // 2
    return address(halves) + (column if right < 0 else n * width + right) * halves.itemsize


@kernel
def gather_halves(data, permutation, halves, fault, code, slabs, start, stop, local):
    n, columns, row = len(halves), data.shape[1], halves.shape[1] // 2
    size, zero = halves.itemsize, halves.dtype.type(0)
    first, left, right, middle = local[ROW], columns * start // slabs, columns * stop // slabs, columns // 2
    found = zero
    for begin, end in ((left, min(right, middle)), (max(left, middle), right)):
        if begin < end:
            target, width = column_of(halves, columns, begin), end - begin
            for r in range(n):
                source = permutation[first + r] if len(permutation) else first + r
                following = permutation[first + min(r + 1, n - 1)] if len(permutation) else source
                fetch_row(address(data) + (following * columns + begin) * size, width * size, zero)
                source = address(data) + (source * columns + begin) * size
                found += copy_checked(source, target + r * row * size, width, zero)
    if found != zero:
        fault[0] |= code


@function
def slab_product(x, x_row, weight, parts, slab, n, local, zero):
    """The part of a product that a slab of the weights makes; x is where its columns begin."""
    inputs, outputs = weight.shape
    count, size = parts.shape[0], parts.itemsize
    left, right = inputs * slab // count, inputs * (slab + 1) // count
    product(
        x, x_row, ONE, address(weight) + left * outputs * size, outputs, NONE,
        address(parts) + slab * n * outputs * size, outputs, n, outputs, few_outputs(n, inputs, outputs, size),
        right - left, ONE, local[ROWS_WORD], size, zero,
    )  # fmt: skip


@kernel
def dense_slabs(x, weight, parts, start, stop, local):
    n, inputs = x.shape
    for slab in range(start, stop):
        begin = address(x) + inputs * slab // parts.shape[0] * x.itemsize
        slab_product(begin, inputs, weight, parts, slab, n, local, x.dtype.type(0))


@kernel
def dense_halves(halves, weight, parts, start, stop, local):
    n, row, inputs = len(halves), halves.shape[1] // 2, len(weight)
    for slab in range(start, stop):
        begin = column_of(halves, inputs, inputs * slab // parts.shape[0])
        slab_product(begin, row, weight, parts, slab, n, local, halves.dtype.type(0))


@kernel
def dense_dweight_halves(halves, dz, dweight, start, stop, local):
    n, row = len(halves), halves.shape[1] // 2
    inputs, outputs = dweight.shape
    size, few, middle = halves.itemsize, few_outputs_of_gradient(n, outputs, halves.itemsize), inputs // 2
    for begin, end in ((start, min(stop, middle)), (max(start, middle), stop)):
        if begin < end:
            product(
                column_of(halves, inputs, begin), ONE, row, address(dz), outputs, NONE,
                address(dweight) + begin * outputs * size, outputs, end - begin, outputs, few, n, blocks(n),
                local[ROWS_WORD], size, halves.dtype.type(0),
            )  # fmt: skip


@kernel
def dense_dx_slabs(dz, weight, dx, start, stop, local):
    inputs, outputs = weight.shape
    size, first = dz.itemsize, address(weight) + start * weight.shape[1] * dz.itemsize
    input_gradient(
        address(dz), first, address(dx) + start * size, len(dz), stop - start, outputs, inputs,
        local[ROWS_WORD], size, dz.dtype.type(0),
    )  # fmt: skip


@kernel
def sum_slabs(parts, bias, z, start, stop):
    outputs = z.shape[1]
    for n in range(start, stop):
        row = z[n]
        total = parts[0, n * outputs : (n + 1) * outputs]
        for o in range(outputs):
            row[o] = total[o] + bias[o] if len(bias) else total[o]
        for slab in range(1, parts.shape[0]):
            total = parts[slab, n * outputs : (n + 1) * outputs]
            for o in range(outputs):
                row[o] += total[o]
