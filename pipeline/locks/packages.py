"""Versions of whatever has a hand in a dataset's bytes."""

import platform
from collections.abc import Mapping
from importlib.metadata import version

import pyproj
import rasterio
import shapely
from numcodecs import blosc

_DISTRIBUTIONS = (
    "isal", "numba", "numcodecs", "numpy", "odc-geo", "pyarrow", "pydantic", "pyproj", "rasterio", "scipy",
    "sen12-pipeline", "shapely", "zarr",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Return the version of each package, of the libraries that they bundle, of Python and of the machine's kind."""
    return {
        **{name: version(name) for name in _DISTRIBUTIONS},
        "c-blosc": str(blosc.VERSION_STRING),
        "gdal": str(rasterio.__gdal_version__),
        "geos": shapely.geos_version_string,
        "machine": platform.machine(),
        "proj": pyproj.proj_version_str,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def version_differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return one phrase for each package that is another one now."""
    names = sorted({*then, *now})
    return [
        f"{name} {now.get(name, 'none')}, was {then.get(name, 'none')}"
        for name in names
        if then.get(name) != now.get(name)
    ]
