"""Seeded noise and the few array operations that the simulated ground, sky and radar share."""

import zlib

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def stream(seed: int, key: str) -> np.random.Generator:
    """Return the random stream that belongs to `key`, whatever was drawn before it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(key.encode()),)))


def _frequency(shape: tuple[int, int]) -> Field:
    rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    frequency: Field = np.hypot(rows[:, None], columns[None, :]).astype(np.float32)
    return frequency


def fractal(generator: np.random.Generator, shape: tuple[int, int], *, slope: float, longest: float = np.inf) -> Field:
    """Draw periodic noise whose power falls with spatial frequency.

    Parameters
    ----------
    generator : numpy.random.Generator
        Where the numbers come from.
    shape : tuple of int
        Rows and columns.
    slope : float
        Exponent of the power spectrum: 0 is white, 3 to 4 is like land and cloud.
    longest : float
        Wavelength beyond which the power stays level [px].

    Returns
    -------
    float32 (row, column)
        Mean 0, standard deviation 1.
    """
    frequency = np.maximum(_frequency(shape), np.float32(max(1.0 / longest, 0.5 / max(shape))))
    spectrum = np.fft.rfft2(generator.standard_normal(shape, np.float32)) * frequency ** np.float32(-slope / 2)
    field = np.fft.irfft2(spectrum, s=shape)
    normed: Field = ((field - field.mean()) / field.std()).astype(np.float32)
    return normed


def smooth(field: Field, sigma: float) -> Field:
    """Blur with a Gaussian of `sigma` [px]; the edges wrap around."""
    gain = np.exp(-2.0 * (np.pi * sigma * _frequency(field.shape[:2])) ** 2)
    blurred: Field = np.fft.irfft2(np.fft.rfft2(field) * gain, s=field.shape).astype(np.float32)
    return blurred


def coarsen(field: Field, factor: int) -> Field:
    """Average blocks of `factor` by `factor` pixels; any leading axes are kept."""
    if factor == 1:
        return field
    rows, columns = field.shape[-2] // factor, field.shape[-1] // factor
    blocks = field.reshape(*field.shape[:-2], rows, factor, columns, factor)
    means: Field = blocks.mean(axis=(-3, -1), dtype=np.float32)
    return means


def refine(field: Field, factor: int) -> Field:
    """Interpolate linearly to pixels `factor` times smaller; the outermost half pixel is held level."""
    for axis in (0, 1):
        length = field.shape[axis]
        position = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        below = np.minimum(position.astype(np.intp), length - 2)
        share = np.expand_dims((position - below).astype(np.float32), 1 - axis)
        field = field.take(below, axis) * (1 - share) + field.take(below + 1, axis) * share
    return field


def ramp(field: Field, low: float, high: float) -> Field:
    """Rise smoothly from 0 at `low` to 1 at `high`; falls where `low` is the greater."""
    share = np.clip((field - np.float32(low)) / np.float32(high - low), 0, 1)
    risen: Field = (share * share * (3 - 2 * share)).astype(np.float32)
    return risen


def rounded(field: Field, bits: int) -> Field:
    """Keep `bits` bits of the mantissa, to the nearest: what is cut off is noise that does not compress."""
    cut = 23 - bits
    kept = (field.astype(np.float32).view(np.uint32) + np.uint32(1 << (cut - 1))) & np.uint32(
        0xFFFFFFFF << cut & 0xFFFFFFFF
    )
    return kept.view(np.float32)
