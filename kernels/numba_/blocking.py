"""How matrix products are cut into pieces that caches hold and threads share: by shapes alone, for the same bits."""

from fastnn.kernels.contract import Kernel
from fastnn.memory import LINE

PANEL_BYTES = 128  # of columns that are walked together, at most
ROWS_AT_ONCE = 168  # of a product: what belongs to them stays in the second-level cache
DEPTH = 512  # of a block of a sum, at most
SLABBED = 512  # rows of weights in a pair of slabs, at most; matrices with fewer rows are not worth sharing
NARROW = 16  # outputs of a layer that is narrow
TRANSPOSED = 1 << 17  # elements of weights that are worth a transposed copy, at most
ALIAS_BYTES = 2048  # rows that lie a multiple of so many apart compete for the same lines of the cache
SPREAD = 16  # copied rows lie that much further apart


def slabs(rows: int, inputs: int) -> int:
    """The number of slabs of large weights that threads may share for a small batch (see `slabs.py`), or 1."""
    return 1 if inputs < SLABBED or rows > inputs else 2 * ((inputs + SLABBED - 1) // SLABBED)


def blocks(length: int) -> int:
    """The number of blocks in which a sum is made: what a tile reads for one of them stays in the cache."""
    return (length + DEPTH - 1) // DEPTH


def balanced(rows: int, height: int) -> int:
    """How many rows of a product to take at a time, in tiles of this height, so that the last are not few."""
    pieces = (rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE
    return min((rows + pieces * height - 1) // (pieces * height) * height, ROWS_AT_ONCE)


def half_width(columns: int, size: int) -> int:
    """The numbers from row to row in each half of a batch: whole cache lines, which do not compete for their places."""
    line = LINE // size
    width = -(-(columns - columns // 2) // line) * line
    return width + line if width * size % ALIAS_BYTES == 0 else width


def transposes(rows: int, inputs: int, outputs: int) -> bool:
    """True where the gradient of so many rows is worth a transposed copy of the weights, whatever a thread's share."""
    small = outputs <= NARROW or (inputs < SLABBED and inputs * outputs <= TRANSPOSED)
    return small and rows >= max(outputs, NARROW)


def copied_bytes(contract: Kernel, values: list) -> int:
    """The space a launch needs for copied or transposed parts of its matrices."""
    if contract.name == "column_sum":
        return 64
    name = contract.name.removesuffix("_slabs").removesuffix("_halves")
    if name not in ("dense", "dense_dx", "dense_dweight"):
        return 0
    n, (inputs, outputs) = len(values[0]), values[2 if name == "dense_dweight" else 1].shape
    rows, depth = {
        "dense": (n, inputs // blocks(inputs) + 1),
        "dense_dx": (n, outputs),
        "dense_dweight": (inputs, n // blocks(n) + 1),
    }[name]
    block, transposed = (min(rows, ROWS_AT_ONCE) + SPREAD) * (depth + SPREAD), (inputs + ROWS_AT_ONCE) * NARROW
    if name == "dense_dx" and transposes(n, inputs, outputs):
        transposed = inputs * outputs
    return PANEL_BYTES * depth + max(block, transposed) * values[0].itemsize
