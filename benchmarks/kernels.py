"""Each kernel against the NumPy lines it replaces, in one run: `python benchmarks/kernels.py`.

Rounds are interleaved, so that a machine that slows down slows both; the table shows medians and their ratio.
"""

import statistics
import time

import numpy as np

from pipeline.pixels import apply_offset, class_shares, cloud_mask_from_scl, moments_of, power_to_db
from pipeline.pixels.classification import _CLOUD_MASK
from pipeline.records import S2_NODATA

ROUNDS = 15
PATCH = 264
SERIES = 64


def db_numpy(power):
    with np.errstate(all="ignore"):
        db = 10 * np.log10(power.astype(np.float64))
    return np.where((power > 0) & np.isfinite(power), db, np.nan).astype(np.float32)


def db_numpy_float32(power):
    with np.errstate(all="ignore"):
        return np.where((power > 0) & np.isfinite(power), np.float32(10) * np.log10(power), np.float32(np.nan))


def db_numpy_unmasked(power):
    with np.errstate(all="ignore"):
        return np.float32(10) * np.log10(power)


def shares_numpy(scl):
    return (
        np.mean((scl == 0) | (scl > 11)),
        np.mean((scl >= 8) & (scl <= 10)),
        np.mean(scl == 3),
        np.mean(scl == 11),
    )


def offset_numpy(dn, valid):
    return np.where(valid & (dn != 0), np.clip(dn.astype(np.int32) - 1000, -32767, 32767), S2_NODATA).astype(np.int16)


def moments_numpy(values, is_valid):
    valid = values[is_valid(values)].astype(np.float64)
    mean = valid.mean()
    return valid.size, mean, np.sum((valid - mean) ** 2), valid.min(), valid.max()


def cases(timesteps):
    """Return (name, pixels, NumPy, kernel) for windows of so many timesteps."""
    rng = np.random.default_rng(0)
    shape = (timesteps, PATCH, PATCH)
    hole = rng.random(shape) < 0.05
    power = np.where(hole, np.nan, rng.gamma(1.0, 0.1, shape)).astype(np.float32)
    db = power_to_db(power)
    scl = rng.integers(0, 12, shape).astype(np.uint8)
    window = scl.reshape(-1, PATCH)
    dn = rng.integers(0, 12000, shape).astype(np.uint16)
    valid = rng.random((PATCH, PATCH)) < 0.95
    stored = apply_offset(dn, valid, offset=-1000)
    return [
        ("power_to_db / float64", power, lambda: db_numpy(power), lambda: power_to_db(power)),
        ("power_to_db / float32", power, lambda: db_numpy_float32(power), lambda: power_to_db(power)),
        ("power_to_db / no mask", power, lambda: db_numpy_unmasked(power), lambda: power_to_db(power)),
        ("cloud_mask_from_scl", scl, lambda: _CLOUD_MASK[scl], lambda: cloud_mask_from_scl(scl)),
        ("class_shares", scl, lambda: shares_numpy(window), lambda: class_shares(window)),
        ("apply_offset", dn, lambda: offset_numpy(dn, valid), lambda: apply_offset(dn, valid, offset=-1000)),
        (
            "moments_of int16",
            stored,
            lambda: moments_numpy(stored, lambda v: v != S2_NODATA),
            lambda: moments_of(stored, nodata=S2_NODATA),
        ),
        (
            "moments_of float32",
            db,
            lambda: moments_numpy(db, lambda v: ~np.isnan(v)),
            lambda: moments_of(db, nodata=None),
        ),
    ]


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    print(f"{'kernel / NumPy form':24}{'timesteps':>10}{'NumPy Mpx/s':>14}{'numba Mpx/s':>14}{'ratio':>8}")
    for timesteps in (1, SERIES):
        todo = cases(timesteps)
        for _, _, in_numpy, in_numba in todo:
            in_numpy(), in_numba()
        taken = [[(seconds(in_numpy), seconds(in_numba)) for _, _, in_numpy, in_numba in todo] for _ in range(ROUNDS)]
        for (name, pixels, _, _), rounds in zip(todo, zip(*taken, strict=True), strict=True):
            in_numpy, in_numba = (statistics.median(times) for times in zip(*rounds, strict=True))
            speeds = (pixels.size / in_numpy / 1e6, pixels.size / in_numba / 1e6)
            print(f"{name:24}{timesteps:10}{speeds[0]:14.0f}{speeds[1]:14.0f}{in_numpy / in_numba:8.1f}")


if __name__ == "__main__":
    main()
