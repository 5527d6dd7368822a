"""Pixels of a patch: one request for all bands of an acquisition, on the patch's own grid."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.earth_engine import usage
from pipeline.sources.earth_engine.collections import DECIBEL, BandReference, parse_href
from pipeline.sources.earth_engine.expressions import VALID, Bands, band_name, patch_image, pixel_grid
from pipeline.sources.earth_engine.governor import Governor
from pipeline.sources.window import Wanted

TAG = "sen12-build"

LARGEST_REQUEST = 48 << 20
"""Earth Engine's limit of one request: decoded size of its answer [bytes]."""

_MOST_BANDS = 16
"""Bands of one request: the band `VALID` has a bit for each."""


@dataclass(frozen=True, slots=True)
class EarthEngineReader:
    """Reads patches; every reference is one of `BandReference`."""

    governor: Governor

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read one band; see `read_bands`."""
        return self.read_bands([Wanted(href, resampling)], grid)[0]

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several bands of one acquisition in one request.

        Returns
        -------
        For each of `wanted`, (size, size): uint8 scene classes with 0 for no data, masked uint16 digital numbers or
        uint8 land cover, or float32 with NaN for no data.

        Raises
        ------
        TransientSourceError, AllowanceError, SourceError, RecipeError
            As `Governor.send`; RecipeError also for a patch too large for one request.
        """
        bands = {parse_href(one.href): one.resampling for one in wanted}
        size = request_bytes(list(bands), grid)
        if size > LARGEST_REQUEST or len(bands) > _MOST_BANDS:
            raise RecipeError(
                f"{len(bands)} bands of {grid.size} px are {size / 1e6:.0f} MB; Earth Engine gives at most "
                f"{LARGEST_REQUEST / 1e6:.0f} MB and this program asks for at most {_MOST_BANDS} bands at once: "
                "take fewer bands or a smaller patch_size"
            )
        answer = self._fetch(bands, grid)
        read = {
            reference: _marked(reference, answer[band_name(index)], (answer[VALID] >> index) & 1 == 1)
            for index, reference in enumerate(bands)
        }
        return [read[parse_href(one.href)] for one in wanted]

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity, float32 with NaN for no data."""
        return self.read_measured_bands([Wanted(href, resampling)], grid)[0]

    def read_measured_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[np.float32]]:
        """Read several bands of a physical quantity in one request."""
        return [np.ma.filled(np.ma.asarray(band, np.float32), np.nan) for band in self.read_bands(wanted, grid)]

    def joined(self, assets: Sequence[AssetRef]) -> list[AssetRef]:
        """Return the scenes of one acquisition as one: the server puts them together, first one first."""
        if len(assets) < 2 or len({asset.offset for asset in assets}) > 1:
            return list(assets)
        columns = zip(*(asset.hrefs for asset in assets), strict=True)
        masks = [asset.mask_href for asset in assets]
        merged = replace(
            assets[0], hrefs=tuple(map(_together, columns)), mask_href=_together(masks) if all(masks) else ""
        )
        return [merged]

    def is_decibel(self, href: str) -> bool:
        """Tell whether a band's numbers are decibels already."""
        return parse_href(href).collection in DECIBEL

    def _fetch(self, bands: Bands, grid: PatchGrid) -> NDArray[Any]:
        subject = f"{next(iter(bands)).href} and {len(bands) - 1} more at {grid.left:.0f}, {grid.top:.0f}"

        def ask() -> bytes:
            request = {
                "expression": patch_image(bands),
                "fileFormat": "NPY",
                "grid": pixel_grid(grid),
                "workloadTag": TAG,
            }
            return bytes(ee.data.computePixels(request))

        data = self.governor.send(ask, tag=TAG, subject=subject)
        usage.count(TAG, size=len(data))
        return _decoded(data, bands, grid, subject)


def request_bytes(bands: Sequence[BandReference], grid: PatchGrid) -> int:
    """Return the decoded size of one request [bytes]; one more byte a value is what the server counts for its mask."""
    itemsizes = [np.dtype(reference.encoding).itemsize for reference in bands]
    return grid.size**2 * (sum(itemsizes) + 2 + len(bands) + 1)


def _together(hrefs: Sequence[str]) -> str:
    parsed = [parse_href(href) for href in hrefs]
    return replace(parsed[0], assets=tuple(asset for one in parsed for asset in one.assets)).href


def _decoded(data: bytes, bands: Bands, grid: PatchGrid, subject: str) -> NDArray[Any]:
    try:
        answer = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as err:
        raise TransientSourceError(f"{subject}: the answer is not an array: {err}") from err
    expected = [(band_name(index), reference.encoding) for index, reference in enumerate(bands)]
    dtype = np.dtype([*expected, (VALID, "uint16")])
    if answer.shape != (grid.size, grid.size) or answer.dtype != dtype:
        raise TransientSourceError(f"{subject}: the answer is {answer.shape} of {answer.dtype}, not {grid.size} px")
    return np.asarray(answer)


def _marked(reference: BandReference, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return np.where(valid, values, np.float32("nan")).astype(np.float32)
    if reference.is_classification:
        return np.where(valid, values, np.uint8(0)).astype(np.uint8)
    return np.ma.MaskedArray(values, ~valid)
