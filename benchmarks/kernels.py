"""Each kernel against the NumPy lines it replaces and against a copy: `python -m benchmarks.kernels [--quick]`.

Time of one core. A patch is 264 × 264 px of two bands of radar, or of one band. NumPy works patch by patch, which suits
its temporaries: they fit the cache.
"""

import time

import numpy as np

from benchmarks.ratios import Pair, measure, parse, show
from pipeline.pixels import apply_offset, class_shares, cloud_mask_from_scl, moments_of, power_to_db
from pipeline.pixels.classification import _CLOUD_MASK
from pipeline.records import S2_NODATA

PATCH = 264
UNIT = "processor time, theirs / ours"
ROUNDS, QUICK_ROUNDS = 31, 3
LOWEST, HIGHEST = -50.0, 20.0
"""Decibels that the NumPy form clips to. Ours needs no such bounds: every decibel of a float32 fits a float16."""


def db_numpy(power):
    """Clip and round, as scripts write it; no data comes out as whatever the logarithm makes of it."""
    with np.errstate(all="ignore"):
        return np.clip(np.float32(10) * np.log10(power), LOWEST, HIGHEST).astype(np.float16)


def db_numpy_with_statistics(power):
    with np.errstate(all="ignore"):
        db = np.clip(np.float32(10) * np.log10(power), LOWEST, HIGHEST)
    is_valid = power > 0
    stored = np.where(is_valid, db, np.float32(np.nan)).astype(np.float16)
    return stored, [moments_numpy(band, mask) for band, mask in zip(db, is_valid, strict=True)]


def db_ours_with_statistics(power):
    stored = power_to_db(power, dtype="float16")
    return stored, [moments_of(band, nodata=None) for band in stored]


def db_numpy_exact(power):
    with np.errstate(all="ignore"):
        db = 10 * np.log10(power.astype(np.float64))
    return np.where((power > 0) & np.isfinite(power), db, np.nan).astype(np.float32)


def moments_numpy(values, is_valid):
    valid = values[is_valid]
    return valid.size, valid.mean(dtype=np.float64), valid.var(dtype=np.float64), valid.min(), valid.max()


def shares_numpy(scl):
    return (
        np.mean((scl == 0) | (scl > 11)),
        np.mean((scl >= 8) & (scl <= 10)),
        np.mean(scl == 3),
        np.mean(scl == 11),
        np.mean((scl == 1) | (scl == 2)),
    )


def offset_numpy(dn, valid):
    return np.where(valid & (dn != 0), np.clip(dn.astype(np.int32) - 1000, -32767, 32767), S2_NODATA).astype(np.int16)


def radar_pairs(repeats):
    rng = np.random.default_rng(0)
    power = rng.gamma(1.0, 0.1, (2, PATCH, PATCH)).astype(np.float32)
    power[rng.random(power.shape) < 0.05] = np.nan
    single, half = np.empty(power.shape, np.float32), np.empty(power.shape, np.float16)
    db = power_to_db(power)
    said = f"{power.size} px, 5 % no data"

    def pair(name, theirs, ours):
        return Pair(
            name=name, theirs=theirs, ours=ours, conditions=said, unit=UNIT, clock=time.thread_time, repeats=repeats
        )

    return [
        pair("dB to float16 / copy to float16", lambda: np.copyto(half, power, casting="same_kind"),
             lambda: power_to_db(power, dtype="float16")),
        pair("dB to float32 / copy of float32", lambda: np.copyto(single, power), lambda: power_to_db(power)),
        pair("dB, clip, float16 / NumPy", lambda: db_numpy(power), lambda: power_to_db(power, dtype="float16")),
        pair("dB, float16, no data, statistics / NumPy", lambda: db_numpy_with_statistics(power),
             lambda: db_ours_with_statistics(power)),
        pair("dB to float32 / NumPy in float64", lambda: db_numpy_exact(power), lambda: power_to_db(power)),
        pair("statistics of float32 / NumPy", lambda: moments_numpy(db, ~np.isnan(db)),
             lambda: moments_of(db, nodata=None)),
    ]  # fmt: skip


def optical_pairs(repeats):
    rng = np.random.default_rng(1)
    shape = (PATCH, PATCH)
    scl = rng.integers(0, 12, shape).astype(np.uint8)
    dn = rng.integers(0, 12000, shape).astype(np.uint16)
    valid = rng.random(shape) < 0.95
    stored = apply_offset(dn, valid, offset=-1000)
    copied = np.empty_like(scl)
    said = f"{scl.size} px"

    def pair(name, theirs, ours):
        return Pair(
            name=name, theirs=theirs, ours=ours, conditions=said, unit=UNIT, clock=time.thread_time, repeats=repeats
        )

    return [
        pair("cloud mask / copy", lambda: np.copyto(copied, scl), lambda: cloud_mask_from_scl(scl)),
        pair("cloud mask / NumPy table", lambda: _CLOUD_MASK[scl], lambda: cloud_mask_from_scl(scl)),
        pair("shares of classes / NumPy", lambda: shares_numpy(scl), lambda: class_shares(scl)),
        pair("offset and clip / NumPy", lambda: offset_numpy(dn, valid), lambda: apply_offset(dn, valid, offset=-1000)),
        pair("statistics of int16 / NumPy", lambda: moments_numpy(stored, stored != S2_NODATA),
             lambda: moments_of(stored, nodata=S2_NODATA)),
    ]  # fmt: skip


def main():
    options = parse(__doc__)
    repeats = 2 if options.quick else 20
    pairs = [*radar_pairs(repeats), *optical_pairs(repeats)]
    show(measure(pairs, QUICK_ROUNDS if options.quick else ROUNDS), options.json)


if __name__ == "__main__":
    main()
