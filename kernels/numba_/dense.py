"""The matrix products of a fully connected layer, cut into register tiles; and the sum over rows."""

import numpy as np
from numba import carray

from fastnn.kernels.numba_ import blocking
from fastnn.kernels.numba_.arguments import ROWS_WORD
from fastnn.kernels.numba_.blocking import ALIAS_BYTES, ROWS_AT_ONCE, SPREAD
from fastnn.kernels.numba_.lowering import function
from fastnn.kernels.numba_.native import kernel
from fastnn.kernels.numba_.rowwise import dot
from fastnn.kernels.numba_.vector import VECTOR_BYTES, columns_copy, inner_tile, outer_tile, row_tile, transposed_block
from fastnn.kernels.numba_.views import address, rows
from fastnn.kernels.numba_.words import numbers, untyped

# Tiles that fit the registers: 32 of 64 bytes (AVX-512), 16 of 32 bytes (AVX2), 32 of 16 bytes (NEON).
if VECTOR_BYTES == 64:
    R = (14, 8, 4, 2, 1)
    S = (16, 8, 4, 2, 1)
else:
    R = (6, 4, 3, 2, 1) if VECTOR_BYTES == 32 else (8, 4, 3, 2, 1)
    S = (8, 6, 4, 2, 1)

WORTH_MOVING = 56  # rows or columns that use what was moved
blocks, slabs, transposes, balanced = map(
    function, (blocking.blocks, blocking.slabs, blocking.transposes, blocking.balanced)
)
copy_columns = columns_copy(2)
inner_44, inner_82, inner_161 = inner_tile(4, 4), inner_tile(8, 2), inner_tile(16, 1)
inner_14, inner_12, inner_11 = inner_tile(1, 4), inner_tile(1, 2), inner_tile(1, 1)
NONE, ONE = np.int64(0), np.int64(1)  # for a literal 0 or 1 Numba would compile what it is given to once more
ROW_VECTORS = 8  # of one row: so many independent sums hide the latency of one multiply-add


def walker(heights, vectors):
    """A function that computes a panel of columns, `vectors` wide, by tiles of these heights from the top down."""
    packing = outer_tile(heights[0], vectors, fetches=True, packs=True)
    tile_0, tile_1, tile_2, tile_3, tile_4 = (outer_tile(rows, vectors, rows == heights[0]) for rows in heights)
    rows_0, rows_1, rows_2, rows_3, rows_4 = heights

    @function
    def walk(a, a_row, a_step, b, b_row, more, more_row, c, c_row, m, columns, k, packed, size, zero):
        i = 0
        if packed:  # the first tile leaves a copy of the panel for the others
            packing(a, a_row, a_step, b, b_row, more, more_row, c, c_row, packed, k, columns, zero)
            b, b_row, i = packed, vectors * VECTOR_BYTES // size, rows_0
        while i < m:
            a_i, c_i, left = a + i * a_row * size, c + i * c_row * size, m - i
            more_i = more + i * more_row * size
            if left >= rows_0 and left // 2 != rows_1:  # twice the second is better than the first and a rest of 2
                tile_0(a_i, a_row, a_step, b, b_row, more_i, more_row, c_i, c_row, 0, k, columns, zero)
                i += rows_0
            elif left >= rows_1:
                tile_1(a_i, a_row, a_step, b, b_row, more_i, more_row, c_i, c_row, 0, k, columns, zero)
                i += rows_1
            elif left >= rows_2:
                tile_2(a_i, a_row, a_step, b, b_row, more_i, more_row, c_i, c_row, 0, k, columns, zero)
                i += rows_2
            elif left >= rows_3:
                tile_3(a_i, a_row, a_step, b, b_row, more_i, more_row, c_i, c_row, 0, k, columns, zero)
                i += rows_3
            else:
                tile_4(a_i, a_row, a_step, b, b_row, more_i, more_row, c_i, c_row, 0, k, columns, zero)
                i += rows_4

    return walk


wide, thin = walker(R, 2), walker(S, 1)
long_tile = outer_tile(1, ROW_VECTORS)
lone_1, lone_4 = row_tile(1, 4), row_tile(4, 4)


@function
def panels(a, a_row, a_step, b, b_row, bias, c, c_row, m, n, k, parts, space, size, zero):
    """c = a b + bias for m rows, n columns and k products each, summed in so many parts.

    Panels of columns are walked by tiles of rows, for some rows and for a block of the sum at a time: what a tile
    reads stays in the cache. Where it would not, since successive rows compete for the same lines, the blocks of a
    and the panels of b are copied to `space`; 0 stands for none.
    """
    lanes = VECTOR_BYTES // size
    panel = (ROW_VECTORS if m == 1 else 2) * lanes
    height = balanced(m, R[0])
    moves = space and n >= WORTH_MOVING and aliases(max(a_row, a_step), size)
    packs = space and aliases(b_row, size)
    copy = space + 2 * VECTOR_BYTES * (k // parts + 1)
    for i in range(0, m, height):
        rows = min(m - i, height)
        packed = space if packs and rows >= WORTH_MOVING else 0
        for part in range(parts):
            first, last = k * part // parts, k * (part + 1) // parts
            a_k, row, step, depth = a + (i * a_row + first * a_step) * size, a_row, a_step, last - first
            if moves:
                if a_step == 1:
                    spread(a_k, a_row, rows, depth, copy, depth + SPREAD, size, zero)
                    a_k, row = copy, depth + SPREAD
                else:
                    spread(a_k, a_step, depth, rows, copy, rows + SPREAD, size, zero)
                    a_k, step = copy, rows + SPREAD
            for j in range(0, n, panel):
                columns = min(n - j, panel)
                b_k, c_j = b + (first * b_row + j) * size, c + (i * c_row + j) * size
                more, more_row = (bias + j * size if bias else 0, 0) if part == 0 else (c_j, c_row)
                if columns <= lanes:
                    thin(a_k, row, step, b_k, b_row, more, more_row, c_j, c_row, rows, columns, depth, 0, size, zero)
                elif m > 1 or columns <= 2 * lanes:
                    wide(
                        a_k, row, step, b_k, b_row, more, more_row, c_j, c_row, rows, columns, depth, packed,
                        size, zero,
                    )  # fmt: skip
                else:
                    long_tile(a_k, row, step, b_k, b_row, more, more_row, c_j, c_row, 0, depth, columns, zero)


@function
def product(a, a_row, a_step, b, b_row, bias, c, c_row, m, n, few, k, parts, space, size, zero):
    """c = a b + bias for m rows, n columns and k products each; the last `few` columns are made by `strip`."""
    whole = n - few
    if whole:
        panels(a, a_row, a_step, b, b_row, bias, c, c_row, m, whole, k, parts, space, size, zero)
    if few:
        b, bias, c = b + whole * size, bias + whole * size if bias else 0, c + whole * size
        strip(a, a_row, a_step, b, b_row, bias, c, c_row, m, few, k, parts, space, size, zero)


@function
def strip(a, a_row, a_step, b, b_row, bias, c, c_row, m, n, k, parts, space, size, zero):
    """The same as `panels` for so few columns that vectors of them would be nearly empty.

    Vectors hold products of one sum instead, or sums of several rows where it is these that lie side by side in a;
    only the former can have a bias.
    """
    results = carray(numbers(c, zero), (m, c_row))
    if a_step > 1:
        panels(b, ONE, b_row, a, a_step, NONE, space, m, n, m, k, parts, NONE, size, zero)
        sums = carray(numbers(space, zero), (n, m))
        for i in range(m):
            for j in range(n):
                results[i, j] = sums[j, i]
        return
    more = space + n * (k // parts + 1) * size
    added = carray(numbers(more, zero), (ROWS_AT_ONCE, n))
    for part in range(parts):
        first, last = k * part // parts, k * (part + 1) // parts
        transpose(b + first * b_row * size, b_row, last - first, n, space, size, zero)
        for i in range(0, m, ROWS_AT_ONCE):
            a_i, rows = a + (i * a_row + first) * size, min(m - i, ROWS_AT_ONCE)
            if part == 0:
                transposed_product(a_i, a_row, space, bias, c + i * c_row * size, c_row, rows, n, last, size, zero)
                continue
            transposed_product(a_i, a_row, space, NONE, more, n, rows, n, last - first, size, zero)
            for r in range(rows):
                for j in range(n):
                    results[i + r, j] += added[r, j]


@function
def lone_product(a, a_step, b, b_row, bias, c, n, k, size, zero):
    """c = a b + bias for the only row there is, which has n columns."""
    lanes = VECTOR_BYTES // size
    for j in range(0, n, 4 * lanes):
        b_j, bias_j, c_j, columns = b + j * size, bias + j * size if bias else 0, c + j * size, min(n - j, 4 * lanes)
        if columns <= lanes:
            lone_1(a, a_step, b_j, b_row, bias_j, c_j, k, columns, zero)
        else:
            lone_4(a, a_step, b_j, b_row, bias_j, c_j, k, columns, zero)


@function
def aliases(width, size):
    """True when successive rows compete for the same lines of the cache."""
    return width * size % ALIAS_BYTES == 0


@function
def spread(a, stride, rows, width, target, target_stride, size, zero):
    """Copy rows of `width` numbers to where they are closer together."""
    step = 2 * VECTOR_BYTES // size
    for j in range(0, width, step):
        copy_columns(a + j * size, stride, target + j * size, target_stride, rows, min(step, width - j), zero)


@function
def transpose(source, stride, rows, width, target, size, zero):
    """target = the columns of the rows at `source`, one after the other."""
    lanes = VECTOR_BYTES // size
    for i in range(0, rows, lanes):
        for j in range(0, width, lanes):
            transposed_block(
                source + (i * stride + j) * size, stride, min(rows - i, lanes), min(width - j, lanes),
                target + (j * rows + i) * size, rows, zero,
            )  # fmt: skip


@function
def few_outputs(n, inputs, outputs, size):
    """How many of the last outputs a strip makes in less time, whatever the thread's rows: the sums must not differ."""
    lanes = VECTOR_BYTES // size
    few = outputs % lanes
    return few if n * (inputs - few * (inputs // lanes + 4)) > 2 * inputs * few else 0


@kernel
def dense(x, weight, bias, z, start, stop, local):
    inputs, outputs = weight.shape
    size, zero = x.itemsize, x.dtype.type(0)
    moved = local[ROWS_WORD]
    parts = max(slabs(len(x), inputs), blocks(inputs))
    if len(x) == 1 and parts == 1:
        x_at, weight_at, bias_at, z_at = address(x), address(weight), address(bias), address(z)
        if start < stop and outputs == 1:
            total = dot(x_at, weight_at, inputs, zero)
            z[0, 0] = total + bias[0] if len(bias) else total
        elif start < stop:
            lone_product(x_at, ONE, weight_at, outputs, bias_at, z_at, outputs, inputs, size, zero)
        return
    few = few_outputs(len(x), inputs, outputs, size)
    product(
        address(x) + start * inputs * size, inputs, ONE, address(weight), outputs, address(bias),
        address(z) + start * outputs * size, outputs, stop - start, outputs, few, inputs, parts, moved, size, zero,
    )  # fmt: skip


@function
def few_outputs_of_gradient(n, outputs, size):
    """How many of the last columns of the weights' gradient, a sum over n rows, a strip makes in less time."""
    lanes = VECTOR_BYTES // size
    few = outputs % lanes
    return few if n * (lanes - few) > 32 * few else 0


@kernel
def dense_dweight(x, dz, dweight, start, stop, local):
    n, inputs = x.shape
    outputs = dz.shape[1]
    size = x.itemsize
    if n == outputs == 1:  # a loop like that of the updates: they can load what it stored before it is in the cache
        slope, row, column = dz[0, 0], x[0, start:stop], rows(dweight, start, stop)
        for i in range(len(column)):
            column[i] = row[i] * slope
        return
    product(
        address(x) + start * size, ONE, inputs, address(dz), outputs, NONE,
        address(dweight) + start * outputs * size, outputs, stop - start, outputs,
        few_outputs_of_gradient(n, outputs, size), n, blocks(n), local[ROWS_WORD], size, x.dtype.type(0),
    )  # fmt: skip


@kernel
def dense_dx(dz, weight, dx, start, stop, local):
    inputs, outputs = weight.shape
    size, zero = dz.itemsize, dz.dtype.type(0)
    moved = local[ROWS_WORD]
    if transposes(len(dz), inputs, outputs):
        transpose(address(weight), outputs, inputs, outputs, moved, size, zero)
        product(
            address(dz) + start * outputs * size, outputs, ONE, moved, inputs, NONE,
            address(dx) + start * inputs * size, inputs, stop - start, inputs, NONE, outputs, blocks(outputs), NONE,
            size, zero,
        )  # fmt: skip
        return
    dz_at, dx_at = address(dz) + start * outputs * size, address(dx) + start * inputs * size
    input_gradient(dz_at, address(weight), dx_at, stop - start, inputs, outputs, inputs, moved, size, zero)


@function
def input_gradient(dz, weight, dx, n, inputs, outputs, dx_row, space, size, zero):
    """dx = dz weight^T for n rows and some inputs; dz goes to `space` where its rows compete for the same lines."""
    moves = inputs >= WORTH_MOVING and aliases(outputs, size)
    height = balanced(n, R[0]) if moves else n
    for i in range(0, n, height):
        rows = min(n - i, height)
        a, a_row = dz + i * outputs * size, outputs
        if moves:
            spread(a, outputs, rows, outputs, space, outputs + SPREAD, size, zero)
            a, a_row = space, outputs + SPREAD
        transposed_product(a, a_row, weight, NONE, dx + i * dx_row * size, dx_row, rows, inputs, outputs, size, zero)


@function
def transposed_product(a, a_row, b, bias, c, c_row, m, n, k, size, zero):
    """c = a b^T + bias for m rows of a, n rows of b and k products each, by tiles of 16 results."""
    j = 0
    while j < n:
        columns = 4 if n - j >= 4 else 2 if n - j >= 2 else 1
        b_j, bias_j = b + j * k * size, bias + j * size if bias else 0
        i = 0
        while i < m:
            rows = 16 // columns if m - i >= 16 // columns else 1
            a_i, c_i = a + i * a_row * size, c + (i * c_row + j) * size
            if columns == 4:
                if rows == 4:
                    inner_44(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
                else:
                    inner_14(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
            elif columns == 2:
                if rows == 8:
                    inner_82(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
                else:
                    inner_12(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
            elif rows == 16:
                inner_161(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
            else:
                inner_11(a_i, a_row, b_j, k, bias_j, c_i, c_row, k, zero)
            i += rows
        j += columns


@kernel
def column_sum(dz, dbias, start, stop, local):
    """The product of a row of ones with dz."""
    n, outputs = dz.shape
    size, zero = dz.itemsize, dz.dtype.type(0)
    one = carray(untyped(local[ROWS_WORD]), 1, dz.dtype)
    one[0] = 1
    b, c = address(dz) + start * size, address(dbias) + start * size
    lone_product(address(one), NONE, b, outputs, NONE, c, stop - start, n, size, zero)
