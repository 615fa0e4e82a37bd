"""Products of large weights, made slab by slab so that each thread needs only its own part of the weights.

In a small batch, moving the weights between cores costs more than multiplying by them. So a thread sums only the
products with those rows of the weights which it also updates: its slabs. `dense` cuts its sums at the same places,
and adds the slabs' sums in the same order, so the bits are the same. In the gradient of the input, those rows of the
weights make its columns.
"""

from fastnn.kernels.contract import ROW
from fastnn.kernels.numba_.dense import NONE, ONE, few_outputs, input_gradient, product
from fastnn.kernels.numba_.native import ROWS_WORD, kernel
from fastnn.kernels.numba_.rowwise import copy_checked, fetch_row
from fastnn.kernels.numba_.words import address


@kernel
def gather_slabs(data, permutation, out, fault, code, slabs, start, stop, local):
    n, width = out.shape
    size, zero = out.itemsize, out.dtype.type(0)
    first, left, right = local[ROW], width * start // slabs, width * stop // slabs
    found = zero
    for r in range(n):
        source = permutation[first + r] if len(permutation) else first + r
        following = permutation[first + min(r + 1, n - 1)] if len(permutation) else source
        fetch_row(address(data) + (following * width + left) * size, (right - left) * size, zero)
        target = address(out) + (r * width + left) * size
        found += copy_checked(address(data) + (source * width + left) * size, target, right - left, zero)
    if found != zero:
        fault[0] |= code


@kernel
def dense_slabs(x, weight, parts, start, stop, local):
    n, inputs = x.shape
    outputs, slabs = weight.shape[1], parts.shape[0]
    size, few = x.itemsize, few_outputs(n, inputs, outputs, x.itemsize)
    for slab in range(start, stop):
        left, right = inputs * slab // slabs, inputs * (slab + 1) // slabs
        product(
            address(x) + left * size, inputs, ONE, address(weight) + left * outputs * size, outputs, NONE,
            address(parts) + slab * n * outputs * size, outputs, n, outputs, few, right - left, local[ROWS_WORD],
            size, x.dtype.type(0),
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
