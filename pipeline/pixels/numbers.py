"""Numbers of any collection: flags in a quality band, and floats on their way to the type they are stored in."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError


def has_bits(quality: NDArray[np.float32], bits: Sequence[int]) -> NDArray[np.bool_]:
    """Tell where any of `bits` (0 the lowest) is set.

    Parameters
    ----------
    quality : float32, any shape
        Whole numbers from 0 to below 2**24, NaN where there is none: no bit is set there.
    bits : sequence of int
        Numbers of bits.
    """
    numbers = np.where(np.isfinite(quality), quality, 0.0).astype(np.int64)
    return np.asarray((numbers & sum(1 << bit for bit in set(bits))) != 0, np.bool_)


def as_numbers_of(
    values: NDArray[np.float32], dtype: str, nodata: float | None, *, subject: str
) -> NDArray[np.generic]:
    """Return `values` (NaN for no data) in the type that they are stored in.

    Parameters
    ----------
    values : float32, any shape
        Every integer of up to 24 bits is exact.
    dtype : str
        float32, or an integer type of at most 16 bits: then values are rounded to the nearest integer.
    nodata : float
        What becomes of NaN in an integer type.
    subject : str
        What is stored, for the error message.

    Raises
    ------
    RecipeError
        A value does not fit the type.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    limits, known = np.iinfo(kind), np.isfinite(values)
    rounded = np.rint(np.where(known, values, 0.0))
    wrong = (rounded < limits.min) | (rounded > limits.max)
    if wrong.any():
        raise RecipeError(f"{subject} holds {rounded[wrong].flat[0]:.0f}, which {dtype} does not: change its dtype")
    return np.where(known, rounded, 0 if nodata is None else nodata).astype(kind)
