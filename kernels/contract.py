"""The table of all kernels: what each one reads, writes and takes, and how its work may be shared by threads.

Every backend implements every kernel under the same name with the same arguments in the same order. A kernel is
given its outputs and keeps no state that changes a result. A line of the table reads like a signature:

    dense     x[N,I] weight[I,O] bias[O]? -> z[N,O]     ; split rows z

Shape letters: N rows of the batch, I inputs, O outputs, F features, M rows of a data set, P first axis of a
parameter, Q its other axes, S steps of a run, K columns. An array has the table's number of axes: whoever calls
folds later axes together. `?` marks what may be None and `+` what is read before it is written. Elements have the
network's dtype, except `:int` (int64) and `:double` (float64). Scalars follow the arrays; a `:float` has the
network's dtype too, a `:double` is float64, an `:int` an int64.

`split` says how threads may share the work, and by which array each thread's range is measured:
    rows A      rows of the batch: a launch touches only its own rows of every array with that axis
    params A    the first axis of a parameter: each thread owns a slab of it
    single      one thread does it all
Where a sum is cut follows from the shapes alone, so the bits of a result do not depend on the number of threads.

The clock is what changes from step to step: where the step stands in this run, how many steps the model has been
trained in all, and the first row of the batch. Whoever replays a program advances it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

POSITION, ITERATION, ROW = 0, 1, 2  # the clock's elements


@dataclass(frozen=True)
class Array:
    """An array argument: its name, axes, element type and whether it is read or written."""

    name: str
    axes: tuple[str, ...]
    element: str  # "real", "int" or "double"
    optional: bool
    reads: bool
    writes: bool


@dataclass(frozen=True)
class Kernel:
    """A kernel's signature: arrays, then scalars as (name, "int", "float" or "double"), and how its work is split."""

    name: str
    arrays: tuple[Array, ...]
    scalars: tuple[tuple[str, str], ...]
    split: str
    owner: int  # index of the array whose first axis the threads share

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of all arguments, in order."""
        return tuple(array.name for array in self.arrays) + tuple(name for name, _ in self.scalars)


_LINE = re.compile(
    r"(\w+)\s+([^;]*?)\s*->\s*([^;]*?)\s*;"  # name, arrays in, arrays out
    r"(?:((?:\s*\w+:(?:int|float|double))+)\s*;)?"  # scalars, if any
    r"\s*split\s+(rows|params|slabs|single)(?:\s+(\w+))?"  # how it is shared, and by the rows of which array
)
_ARRAY = re.compile(r"(\+?)(\w+)\[([A-Z1-9,]*)\]:?(int|double|)(\??)")


def parse(line: str) -> Kernel:
    """The kernel that a line of the table describes. Raises TypeError, ValueError for what cannot be read."""
    if not isinstance(line, str):
        raise TypeError(f"line must be a line of the kernels' table, got {line!r}")
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"line must be like 'name x[N,F] -> y[N,F] ; scale:float ; split rows y', got {line!r}")
    name, inputs, outputs, scalars, split, owner = match.groups()
    arrays = [_array(name, text, writes=False) for text in inputs.split()]
    arrays += [_array(name, text, writes=True) for text in outputs.split()]
    names = [array.name for array in arrays]
    if (split == "single") != (owner is None) or owner not in (None, *names):
        raise ValueError(f"kernel {name}: split must name one of its arrays, or be single, got {split} {owner or ''}")
    pairs = tuple((scalar, kind) for scalar, kind in (text.split(":") for text in (scalars or "").split()))
    return Kernel(name, tuple(arrays), pairs, split, names.index(owner) if owner else -1)


def _array(kernel: str, text: str, writes: bool) -> Array:
    match = _ARRAY.fullmatch(text)
    if match is None:
        raise ValueError(f"kernel {kernel}: cannot read the argument {text!r}")
    plus, argument, axes, element, optional = match.groups()
    return Array(argument, tuple(axes.split(",")), element or "real", bool(optional), not writes or bool(plus), writes)


def read(table: str) -> dict[str, Kernel]:
    """The kernels of a table, by name."""
    lines = table.replace("\\\n", " ").splitlines()
    return {kernel.name: kernel for kernel in map(parse, filter(None, lines))}


_TABLE = """
gather                data[M,F] permutation[M]:int? clock[3]:int -> out[N,F]                      ; split rows out
scatter               values[N,F] clock[3]:int -> +out[M,F]                                       ; split rows values
check_finite          values[N,F] -> +fault[1]:int                        ; code:int              ; split rows values

order_of              words[N]:int -> order[N]:int work[K]:int                                    ; split single
random_bits           clock[3]:int -> out[N]:int            ; seed:int stream:int                 ; split rows out

dense                 x[N,I] weight[I,O] bias[O]? -> z[N,O]                                       ; split rows z
dense_dx              dz[N,O] weight[I,O] -> dx[N,I]                                              ; split rows dx
dense_dweight         x[N,I] dz[N,O] -> dweight[I,O]                                              ; split params dweight
column_sum            dz[N,O] -> dbias[O]                                                         ; split params dbias

activation            z[N,F] -> y[N,F]                                    ; kind:int alpha:float  ; split rows y
activation_gradient   z[N,F] y[N,F] dy[N,F] -> dz[N,F]                    ; kind:int alpha:float  ; split rows dz
softmax               z[N,F] -> y[N,F]                                                            ; split rows y
softmax_gradient      y[N,F] dy[N,F] -> dz[N,F]                                                   ; split rows dz
dropout               x[N,F] clock[3]:int -> y[N,F]  ; seed:int stream:int threshold:int scale:float  ; split rows y

smooth                target[N,F] -> out[N,F]                             ; keep:float rest:float ; split rows out
softmax_crossentropy_sparse  z[N,F] labels[N]:int -> y[N,F] loss[N] dz[N,F]?   ; scale:float      ; split rows y
softmax_crossentropy         z[N,F] target[N,F] -> y[N,F] loss[N] dz[N,F]?     ; scale:float      ; split rows y
sigmoid_crossentropy         z[N,F] target[N,F] -> y[N,F] loss[N] dz[N,F]?     ; scale:float      ; split rows y
sparse_crossentropy          y[N,F] labels[N]:int -> loss[N] dy[N,F]?          ; scale:float      ; split rows y
categorical_crossentropy     y[N,F] target[N,F] -> loss[N] dy[N,F]?            ; scale:float      ; split rows y
binary_crossentropy          y[N,F] target[N,F] -> loss[N] dy[N,F]?            ; scale:float      ; split rows y
squared_error                y[N,F] target[N,F] -> loss[N] dy[N,F]?            ; scale:float      ; split rows y
absolute_error               y[N,F] target[N,F] -> loss[N] dy[N,F]?            ; scale:float      ; split rows y
huber                        y[N,F] target[N,F] -> loss[N] dy[N,F]? ; scale:float delta:float     ; split rows y

sparse_accuracy       y[N,F] labels[N]:int -> hits[N]                                             ; split rows y
categorical_accuracy  y[N,F] target[N,F] -> hits[N]                                               ; split rows y
binary_accuracy       y[N,F] target[N,F] -> hits[N]                       ; threshold:float       ; split rows y
record                values[N] clock[3]:int -> +ring[S,K]:double         ; column:int            ; split single
penalty               weight[P,Q] clock[3]:int -> +ring[S,K]:double ; column:int l1:float l2:float ; split single

regularize            weight[P,Q] -> +dweight[P,Q]                 ; l1:float l2:float            ; split params dweight
sgd_update            table[S,K]:double clock[3]:int -> +weight[P,Q] +dweight[P,Q] +velocity[P,Q]? \
                                                ; momentum:float nesterov:int                     ; split params weight
adagrad_update        table[S,K]:double clock[3]:int -> +weight[P,Q] +dweight[P,Q] +accumulator[P,Q] \
                                                ; epsilon:float                                   ; split params weight
rmsprop_update        table[S,K]:double clock[3]:int -> +weight[P,Q] +dweight[P,Q] +mean_square[P,Q] +velocity[P,Q]? \
                                                ; rho:double momentum:float epsilon:float          ; split params weight
adam_update           table[S,K]:double clock[3]:int -> +weight[P,Q] +dweight[P,Q] +m[P,Q] +v[P,Q] \
                                    ; beta_1:double beta_2:double epsilon:float weight_decay:float ; split params weight
"""

KERNELS: dict[str, Kernel] = read(_TABLE)

BUILT_IN = frozenset(KERNELS)  # users may add more

# Activations that work element by element; `kind` is the index here.
ELEMENTWISE = ("linear", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus")
LINEAR, STEP, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, GELU, SILU, SOFTPLUS = range(len(ELEMENTWISE))
# Those whose derivative needs z; that of the others follows from y, so that y may overwrite z.
NEEDS_Z = frozenset({"gelu", "silu"})

TABLE_COLUMNS = {"sgd_update": 1, "adagrad_update": 1, "rmsprop_update": 1, "adam_update": 3}  # rate, corrections
