"""Random numbers that depend on nothing but a seed, the number of a sample and the number of its attempt.

Philox4x64-10 (Salmon, Moraes, Dror and Shaw 2011, Parallel random numbers: as easy as 1, 2, 3), for whole arrays of
counters at once.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.grid import Floats, Integers

Words = NDArray[np.uint64]

KEY_BITS = 128

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def random_words(seed: int, *, index: Integers, attempt: Integers) -> Words:
    """Return four words of 64 random bits for each pair of index and attempt.

    They are the first four that `numpy.random.Philox(key=seed, counter=[index, attempt, 0, 0])` gives.

    Parameters
    ----------
    seed : int
        From 0 to below 2**128.
    index, attempt : int64 (n,)
        From 0.

    Returns
    -------
    uint64 (4, n)
    """
    # NumPy's generator counts up before it draws.
    zero = np.zeros(len(index), np.uint64)
    words = (index.astype(np.uint64) + np.uint64(1), attempt.astype(np.uint64), zero, zero)
    for turn in range(_ROUNDS):
        keys = (np.uint64(((seed >> 64 * half) + turn * _WEYL[half]) % 2**64) for half in (0, 1))
        words = _round(words, *keys)
    return np.stack(words)


def _round(
    words: tuple[Words, Words, Words, Words], low_key: np.uint64, high_key: np.uint64
) -> tuple[Words, Words, Words, Words]:
    high_0, low_0 = _product(words[0], _MULTIPLIERS[0])
    high_1, low_1 = _product(words[2], _MULTIPLIERS[1])
    return high_1 ^ words[1] ^ low_key, low_1, high_0 ^ words[3] ^ high_key, low_0


def _product(words: Words, factor: np.uint64) -> tuple[Words, Words]:
    """Return the high and the low 64 bits of each product of 128 bits."""
    word_high, word_low = words >> _HALF, words & _LOW
    factor_high, factor_low = factor >> _HALF, factor & _LOW
    crossed = word_high * factor_low + ((word_low * factor_low) >> _HALF)
    carried = word_low * factor_high + (crossed & _LOW)
    return word_high * factor_high + (crossed >> _HALF) + (carried >> _HALF), words * factor


def unit_interval(words: Words) -> Floats:
    """Return each word as a number from 0 to below 1, of 53 bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
