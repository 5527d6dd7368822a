"""Run with zarr 2.18: open shards by plain path as the published loaders do, and print what they hold as JSON."""

import hashlib
import json
import sys
from typing import Any

import numpy as np
import xarray as xr


def describe(dataset: xr.Dataset) -> dict[str, Any]:
    """Every variable's kind, dims, dtype, shape, attributes and SHA-256, by name."""
    return {
        str(name): {
            "is_coordinate": name in dataset.coords,
            "dims": [str(dim) for dim in array.dims],
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "attributes": {str(key): str(value) for key, value in sorted(array.attrs.items())},
            "sha256": hashlib.sha256(np.ascontiguousarray(array.values).tobytes()).hexdigest(),
        }
        for name, array in dataset.variables.items()
    }


def main(paths: list[str]) -> None:
    import zarr  # noqa: PLC0415

    assert zarr.__version__.startswith("2.18."), zarr.__version__
    found: dict[str, Any] = {}
    for path in paths:
        with xr.open_zarr(path) as plain, xr.open_zarr(path, mask_and_scale=True) as masked:
            found[path] = {"plain": describe(plain), "masked": describe(masked), "attributes": plain.attrs}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
