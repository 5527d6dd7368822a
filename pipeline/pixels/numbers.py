"""Numbers of any collection: flags in a quality band, and floats on their way to the type they are stored in."""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import PixelError, RecipeError


@njit(nogil=True, cache=True)
def _take_measured(out, read, take, lowest):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        measured = read[i] if read[i] > lowest else np.float32(np.nan)
        out[i] = measured if take[i] else out[i]


def take_measured_inplace(
    out: NDArray[np.float32], read: NDArray[np.float32], take: NDArray[np.bool_], *, lowest: float
) -> None:
    """Put `read` into `out` where `take` is set: NaN where it is not above `lowest`, as NaN never is.

    Parameters
    ----------
    out, read : float32 (y, x)
        `out` in C order.
    take : bool (y, x)

    Raises
    ------
    PixelError
        When shapes or dtypes are others.
    """
    if not (out.shape == read.shape == take.shape and out.dtype == read.dtype == np.float32 and take.dtype == np.bool_):
        raise PixelError(
            f"out and read must be float32 and take bool of one shape, got {out.dtype} {out.shape}, {read.dtype} "
            f"{read.shape} and {take.dtype} {take.shape}"
        )
    if not out.flags.c_contiguous:
        raise PixelError("out must be in C order")
    flat = np.ascontiguousarray(read).reshape(-1), np.ascontiguousarray(take).reshape(-1)
    _take_measured(out.reshape(-1), *flat, np.float32(lowest))


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
