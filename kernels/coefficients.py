"""Numbers that the reference and the native engine share: the coefficients of erf, which NumPy lacks, and others."""

from __future__ import annotations

from typing import NamedTuple


class Erf(NamedTuple):
    """Two fractions of polynomials, lowest power first: erf(a) near zero and erfc(a) beyond, for a = |x|.

    erf(a)  = a * near_top(a^2) / near_bottom(a^2)      for a < ERF_SPLIT
    erfc(a) = exp(-a^2) * far_top(a) / far_bottom(a)    for a >= ERF_SPLIT
    """

    near_top: tuple[float, ...]
    near_bottom: tuple[float, ...]
    far_top: tuple[float, ...]
    far_bottom: tuple[float, ...]


EPSILON = 1e-7  # probabilities are kept this far from 0 and 1, as in Keras

# Philox4x32-10: the multipliers, and the steps of the key (golden ratio, sqrt(3) - 1), the paper's Weyl constants.
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85

ERF_SPLIT = 0.5
# erf(6) = 1 - 2e-17: beyond, the answer is 1 and a^2 would only overflow.
ERF_LIMIT = 6.0

# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), 631-637.
# The paper takes another fraction beyond 4, where erfc needs it; for erf this one stays within 1e-24 up to 6.
ERF_FLOAT64 = Erf(
    near_top=(
        3.20937758913846947e03,
        3.77485237685302021e02,
        1.13864154151050156e02,
        3.16112374387056560e00,
        1.85777706184603153e-1,
    ),
    near_bottom=(
        2.84423683343917062e03,
        1.28261652607737228e03,
        2.44024637934444173e02,
        2.36012909523441209e01,
        1.0,
    ),
    far_top=(
        1.23033935479799725e03,
        2.05107837782607147e03,
        1.71204761263407058e03,
        8.81952221241769090e02,
        2.98635138197400131e02,
        6.61191906371416295e01,
        8.88314979438837594e00,
        5.64188496988670089e-1,
        2.15311535474403846e-8,
    ),
    far_bottom=(
        1.23033935480374942e03,
        3.43936767414372164e03,
        4.36261909014324716e03,
        3.29079923573345963e03,
        1.62138957456669019e03,
        5.37181101862009858e02,
        1.17693950891312499e02,
        1.57449261107098347e01,
        1.0,
    ),
)

# The same form with fewer terms, fitted for this library by weighted least squares on 120 Chebyshev nodes,
# reweighted towards equal errors (Lawson): relative to erf 1.4e-9 and 6e-9, a tenth of float32's rounding.
ERF_FLOAT32 = Erf(
    near_top=(1.128379166, -0.3761260861, 0.112828234, -0.02675721596, 0.004718046372),
    near_bottom=(1.0,),
    far_top=(1.000116297, 0.6883387078, 0.2002077661),
    far_bottom=(1.0, 1.817796187, 1.246938066, 0.3523268192),
)
