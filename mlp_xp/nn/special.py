"""The special function that the Array API standard lacks: the tail of the normal distribution."""

from typing import Any

from .layer import Array

FAR = 40.0
"""Beyond it the density exp(-z^2 / 2) is zero, also in float64."""

# Numerators and denominators, highest power first; the leading coefficient of each is 1, as R(z) -> 1 / z.
FLOAT32 = (
    (8.972290712, 37.77039487, 85.17229144, 90.18623555),
    (8.972315051, 38.76870728, 94.18814672, 125.3721638, 71.95820225),
)
FLOAT64 = (
    (
        26.326617601308783,
        340.56946633909695,
        2796.7234242277327,
        15934.331772141597,
        65069.16445557082,
        190401.2687422283,
        386402.3203803744,
        498118.5477315428,
        317182.59709627734,
    ),
    (
        26.32661760125854,
        341.56946634856246,
        2823.050041031836,
        16272.901278572721,
        67813.23328601237,
        205664.4947941587,
        446140.6918587333,
        659991.6243274169,
        599365.8114469282,
        253075.09717847548,
    ),
)


def mills_ratio(xp: Any, z: Array) -> Array:
    """R(z) = (1 - Phi(z)) / phi(z) for 0 <= z <= FAR, where phi and Phi are the normal density and distribution.

    So 1 - Phi(z) = phi(z) R(z) to full relative precision, where 1 - Phi(z) itself would cancel, and
    erfc(z) = sqrt(2 / pi) exp(-z^2) R(sqrt(2) z).

    A rational Chebyshev approximation in the manner of Cody ("Rational Chebyshev Approximations for the Error
    Function", 1969): one quotient of polynomials, its coefficients chosen by Remez's exchange so that the largest
    relative error on [0, FAR] is as small as can be, 3.8e-8 for float32 and 1.1e-16 for float64. All coefficients are
    positive, so nothing cancels. float32 has fewer: each costs two passes over the array.
    """
    numerator, denominator = FLOAT32 if z.dtype == xp.float32 else FLOAT64
    return monic(numerator, z) / monic(denominator, z)


def monic(coefficients: tuple[float, ...], z: Array) -> Array:
    """z^n + c_1 z^(n-1) + ... + c_n, by Horner's rule."""
    total = z + coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * z + coefficient
    return total
