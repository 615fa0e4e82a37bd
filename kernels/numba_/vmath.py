"""Elementary functions that LLVM can vectorize and that call no library: cached kernels need nothing else.

Each function is written once, for float32 and float64 alike, from + - * / and fma, which round the same way
everywhere, and from selects instead of branches. So a loop over an array becomes vector code, and an element
has the same bits in the vector body, in the scalar tail and alone. Where the processor lacks fma (x86 before
AVX2), LLVM would call the C library for it.

The functions are for `njit` code; from Python they take one number at a time. An argument that is neither
float32 nor float64 is a typing error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

from fastnn.kernels.coefficients import ERF_FLOAT32, ERF_FLOAT64, ERF_LIMIT, ERF_SPLIT

inlined = njit(error_model="numpy", forceinline=True)

# --- what Python cannot say: constants of a type, fma, the square root, the bits of a number ---


def _real(*arguments: types.Type) -> types.Type:
    """Return the one type of the arguments; a mixture would silently be computed in float64."""
    if arguments[0] not in (types.float32, types.float64) or len(set(arguments)) > 1:
        raise NumbaTypeError(f"vmath takes float32 or float64, all of one type, got {arguments}")
    return arguments[0]


def _layout(real: types.Type) -> tuple[ir.IntType, int, int]:
    """Return the integer type as wide as `real`, the number of mantissa bits and the bias of the exponent."""
    return (ir.IntType(32), 23, 127) if real == types.float32 else (ir.IntType(64), 52, 1023)


def polynomial(float64: tuple[float, ...], float32: tuple[float, ...] | None = None) -> Any:
    """Return the native function x -> sum(c[k] * x**k), c by the type of x, as fma by Estrin's scheme.

    It pairs neighbours, (c[0] + c[1] x) + (c[2] + c[3] x) x**2 + ..., which wait less for each other than Horner's.
    """

    @intrinsic
    def evaluate(typing_context: Any, x: types.Type) -> tuple[Any, Callable]:
        c = float32 if float32 is not None and x == types.float32 else float64

        def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            (x,) = arguments
            terms, power = [ir.Constant(x.type, coefficient) for coefficient in c], x
            while len(terms) > 1:
                odd = terms.pop() if len(terms) % 2 else None
                terms = [builder.fma(b, power, a) for a, b in zip(terms[::2], terms[1::2], strict=True)]
                terms += [] if odd is None else [odd]
                power = builder.fmul(power, power)
            return terms[0]

        return _real(x)(x), emit

    return evaluate


def constant(float64: float, float32: float | None = None) -> Any:
    """Return the native function x -> number in the type of x; a bare 0.5 would turn float32 into float64."""
    return polynomial((float64,), None if float32 is None else (float32,))


@intrinsic
def fma(typing_context, a, b, c):
    """Return a * b + c, rounded once."""

    def emit(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return _real(a, b, c)(a, b, c), emit


@intrinsic
def sqrt(typing_context, x):
    """Return the square root, as the processor's instruction."""

    def emit(context, builder, signature, arguments):
        real = arguments[0].type
        kind = ir.FunctionType(real, [real])
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [real], kind), arguments)

    return _real(x)(x), emit


@intrinsic
def _copysign(typing_context, magnitude, sign):
    """Return magnitude with the sign bit of sign."""

    def emit(context, builder, signature, arguments):
        real = arguments[0].type
        kind = ir.FunctionType(real, [real, real])
        return builder.call(builder.module.declare_intrinsic("llvm.copysign", [real], kind), arguments)

    return _real(magnitude, sign)(magnitude, sign), emit


@intrinsic
def _scale(typing_context, x, shifted):
    """Return x * 2**n from shifted = SHIFTER + n by adding n to the exponent of x; both must be normal."""
    integer, mantissa_bits, _ = _layout(x)

    def emit(context, builder, signature, arguments):
        bits, n = (builder.bitcast(argument, integer) for argument in arguments)
        bits = builder.add(bits, builder.shl(n, integer(mantissa_bits)))
        return builder.bitcast(bits, arguments[0].type)

    return _real(x, shifted)(x, shifted), emit


@intrinsic
def _split(typing_context, x):
    """Return (SHIFTER + k, m) with x = m * 2**k and sqrt(1/2) <= m < sqrt(2), for a normal x > 0."""
    integer, mantissa_bits, bias = _layout(x)
    unit = 1 << mantissa_bits
    sqrt_half = (bias - 1) * unit + int((math.sqrt(2) - 1) * unit)
    shifter = (bias + mantissa_bits) * unit + unit // 2

    def emit(context, builder, signature, arguments):
        bits = builder.sub(builder.bitcast(arguments[0], integer), integer(sqrt_half - bias * unit))
        shifted = builder.add(builder.lshr(bits, integer(mantissa_bits)), integer(shifter - bias))
        m = builder.add(builder.and_(bits, integer(unit - 1)), integer(sqrt_half))
        values = [builder.bitcast(value, arguments[0].type) for value in (shifted, m)]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(_real(x), 2)(x), emit


# --- constants ---

ZERO, HALF, ONE, TWO = constant(0.0), constant(0.5), constant(1.0), constant(2.0)
INFINITY = constant(math.inf)
# Adding 1.5 * 2**mantissa_bits rounds to an integer and leaves that integer in the lowest bits.
SHIFTER = constant(1.5 * 2.0**52, 1.5 * 2.0**23)

LOG2_E = constant(1 / math.log(2))
# log(2) in two parts; the high one ends in zero bits, so that n times it is exact for every exponent n.
LOG_2_HIGH = constant(float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.62e4p-1"))
LOG_2_LOW = constant(float.fromhex("0x1.a39ef35793c76p-33"), float.fromhex("0x1.7f7d1cp-20"))

# Between these exp(x) is a normal number.
EXP_LOWEST = constant(-708.3964185322641, -87.33654)
EXP_HIGHEST = constant(709.782712893384, 88.72283)
# (exp(r) - 1 - r) / r**2 for |r| <= log(2)/2: Taylor's series, cut where terms are a tenth of a rounding.
EXP_SERIES = polynomial(
    tuple(1 / math.factorial(k) for k in range(2, 15)), tuple(1 / math.factorial(k) for k in range(2, 8))
)
EXPM1_SPLIT = constant(8.0)
# Beyond this |x| tanh(x) rounds to 1.
TANH_LIMIT = constant(20.0, 10.0)

# log((1 + s) / (1 - s)) = 2s + s * (2/3 z + 2/5 z**2 + ...) with z = s**2 < 0.03, cut likewise.
LOG_SERIES = polynomial(tuple(2 / (2 * k + 3) for k in range(11)), tuple(2 / (2 * k + 3) for k in range(4)))
# The same for z <= 1/9.
LOG1P_SERIES = polynomial(tuple(2 / (2 * k + 3) for k in range(15)), tuple(2 / (2 * k + 3) for k in range(6)))

ERF_NEAR, ERF_FURTHEST = constant(ERF_SPLIT), constant(ERF_LIMIT)
ERF_NEAR_TOP, ERF_NEAR_BOTTOM, ERF_FAR_TOP, ERF_FAR_BOTTOM = map(polynomial, ERF_FLOAT64, ERF_FLOAT32)

# --- the functions ---


@inlined
def _exp_reduced(x):
    """Return (exp(r) - 1, SHIFTER + n) with x = n * log(2) + r, so that exp(x) = 2**n * exp(r)."""
    shifted = fma(x, LOG2_E(x), SHIFTER(x))
    n = shifted - SHIFTER(x)
    r = fma(-n, LOG_2_HIGH(x), x)
    r = fma(-n, LOG_2_LOW(x), r)
    return fma(r * r, EXP_SERIES(r), r), shifted


@inlined
def exp(x):
    """Return e**x; inf where that overflows, 0 where it is below the smallest normal number."""
    q, shifted = _exp_reduced(x)
    y = _scale(ONE(x) + q, shifted)
    y = y if x <= EXP_HIGHEST(x) else x + INFINITY(x)
    return ZERO(x) if x < EXP_LOWEST(x) else y


@inlined
def _expm1_reduced(x):
    """Return e**x - 1 for |x| <= 40, without the cancellation near 0."""
    q, shifted = _exp_reduced(x)
    power = _scale(ONE(x), shifted)
    return fma(power, q, power - ONE(x))


@inlined
def expm1(x):
    """Return e**x - 1, accurate for small x too."""
    near = _expm1_reduced(x)
    far = exp(x) - ONE(x)
    return near if abs(x) < EXPM1_SPLIT(x) else far


@inlined
def log(x):
    """Return the natural logarithm of a normal x > 0; nan for nan.

    As in fdlibm's e_log.c: x = m * 2**k, f = m - 1, s = f / (2 + f), 1 + f = (1 + s) / (1 - s).
    """
    shifted, m = _split(x)
    k = shifted - SHIFTER(x)
    f = m - ONE(x)
    s = f / (TWO(x) + f)
    z = s * s
    half_square = HALF(x) * f * f
    tail = fma(s, fma(z, LOG_SERIES(z), half_square), k * LOG_2_LOW(x)) - half_square
    return fma(k, LOG_2_HIGH(x), f + tail) + (x - x)


@inlined
def log1p(x):
    """Return log(1 + x) for 0 <= x <= 1, accurate for small x too."""
    s = x / (TWO(x) + x)
    z = s * s
    return fma(s * z, LOG1P_SERIES(z), s + s)


@inlined
def sigmoid(x):
    """Return 1 / (1 + e**-x), from a power that is never above 1."""
    return sigmoid_by(x, exp(-abs(x)))


@inlined
def sigmoid_by(x, power):
    """Return sigmoid(x) from e**-|x|."""
    return (ONE(x) if x >= ZERO(x) else power) / (ONE(x) + power)


@inlined
def tanh(x):
    """Return the hyperbolic tangent as e / (e + 2) with e = exp(2|x|) - 1, accurate for small x too."""
    a = abs(x)
    a = TANH_LIMIT(x) if a > TANH_LIMIT(x) else a
    e = _expm1_reduced(a + a)
    return _copysign(e / (e + TWO(x)), x)


@inlined
def erf(x):
    """Return the error function by Cody's two fractions (`coefficients.py`), with one division for both."""
    a = abs(x)
    a = ERF_FURTHEST(x) if a > ERF_FURTHEST(x) else a
    square = a * a
    near = a < ERF_NEAR(x)
    near_top, near_bottom = a * ERF_NEAR_TOP(square), ERF_NEAR_BOTTOM(square)
    far_top, far_bottom = exp(-square) * ERF_FAR_TOP(a), ERF_FAR_BOTTOM(a)
    fraction = (near_top if near else far_top) / (near_bottom if near else far_bottom)
    return _copysign(fraction if near else ONE(x) - fraction, x)


@inlined
def sign(x):
    """Return -1, 0 or 1."""
    return (ONE(x) if x > ZERO(x) else ZERO(x)) - (ONE(x) if x < ZERO(x) else ZERO(x))
