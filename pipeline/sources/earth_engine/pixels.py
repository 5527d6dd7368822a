"""Pixels of a patch: one request for all bands of an acquisition, on the patch's own grid."""

import io
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.earth_engine import recent, usage
from pipeline.sources.earth_engine.collections import DECIBEL, BandReference, parse_href
from pipeline.sources.earth_engine.expressions import VALID, Bands, band_name, patch_image, pixel_grid
from pipeline.sources.earth_engine.governor import Governor
from pipeline.sources.window import Wanted

TAG = "sen12-build"

LARGEST_REQUEST = 48 << 20
"""Earth Engine's limit of one request: decoded size of its answer [bytes]."""

MOST_BANDS = 16
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
            As `Governor.send`; RecipeError also for too many bands.
        """
        bands = {parse_href(one.href): one.resampling for one in wanted}
        if len(bands) > MOST_BANDS:
            raise RecipeError(f"{len(bands)} bands are asked for at once, of {MOST_BANDS} at most: take fewer bands")
        read = self._recalled(bands, grid)
        if read is None:
            read = self._read(bands, grid)
            for reference in filter(_is_kept, read):
                recent.keep(self._key(reference, grid), read[reference])
        return [read[parse_href(one.href)] for one in wanted]

    def _read(self, bands: Bands, grid: PatchGrid) -> dict[BandReference, NDArray[Any]]:
        answer = np.zeros((grid.size, grid.size), _answer_type(bands))
        for rows, columns, tile in tiles_of(list(bands), grid):
            answer[rows, columns] = self._fetch(bands, tile)
        return {
            reference: _marked(reference, answer[band_name(index)], (answer[VALID] >> index) & 1 == 1)
            for index, reference in enumerate(bands)
        }

    def _recalled(self, bands: Bands, grid: PatchGrid) -> dict[BandReference, NDArray[Any]] | None:
        """Return bands that were read lately in this process; None where any was not."""
        if not all(map(_is_kept, bands)):
            return None
        kept = {reference: recent.recall(self._key(reference, grid)) for reference in bands}
        found = {reference: values for reference, values in kept.items() if values is not None}
        return found if len(found) == len(bands) else None

    def _key(self, reference: BandReference, grid: PatchGrid) -> Hashable:
        return self.governor.session, reference, grid

    def read_ahead(self, reads: Iterable[tuple[Sequence[Wanted], PatchGrid]]) -> None:
        """Do nothing: a request holds one patch."""

    @property
    def left_to_reference(self) -> Mapping[str, int]:
        """Nothing: there are no files."""
        return {}

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


def tiles_of(bands: Sequence[BandReference], grid: PatchGrid) -> list[tuple[slice, slice, PatchGrid]]:
    """Return the parts of a patch that are asked for one by one, with their rows and columns: most often the whole.

    They are equally large squares, as few as the limit of a request allows; where they overlap they are the same.
    """
    for parts in range(1, grid.size + 1):
        size = math.ceil(grid.size / parts)
        if request_bytes(bands, replace(grid, size=size)) <= LARGEST_REQUEST:
            break
    starts = [min(part * size, grid.size - size) for part in range(parts)]
    return [(slice(y, y + size), slice(x, x + size), _part(grid, x, y, size)) for y in starts for x in starts]


def _part(grid: PatchGrid, x: int, y: int, size: int) -> PatchGrid:
    return replace(grid, left=grid.left + x * grid.resolution, top=grid.top - y * grid.resolution, size=size)


def _together(hrefs: Sequence[str]) -> str:
    parsed = [parse_href(href) for href in hrefs]
    return replace(parsed[0], assets=tuple(asset for one in parsed for asset in one.assets)).href


def _decoded(data: bytes, bands: Bands, grid: PatchGrid, subject: str) -> NDArray[Any]:
    try:
        answer = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as err:
        raise TransientSourceError(f"{subject}: the answer is not an array: {err}") from err
    dtype = _answer_type(bands)
    if answer.shape != (grid.size, grid.size) or answer.dtype != dtype:
        raise TransientSourceError(f"{subject}: the answer is {answer.shape} of {answer.dtype}, not {grid.size} px")
    return np.asarray(answer)


def _answer_type(bands: Bands) -> np.dtype[Any]:
    named = [(band_name(index), reference.encoding) for index, reference in enumerate(bands)]
    return np.dtype([*named, (VALID, "uint16")])


def _is_kept(reference: BandReference) -> bool:
    """Tell whether a band is read again with other bands: the scene classification is part of every Sentinel-2 patch.

    Of several images it is the same whatever it is read with: its own class 0 alone says where an image has no data.
    """
    return reference.is_classification


def _marked(reference: BandReference, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    if values.dtype.kind == "f":
        return np.where(valid, values, np.float32("nan")).astype(np.float32)
    if reference.is_classification:
        return np.where(valid, values, np.uint8(0)).astype(np.uint8)
    return np.ma.MaskedArray(values, ~valid)
