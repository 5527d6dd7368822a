"""Pixels of a patch: one request for all bands of as many acquisitions as fit, on the patch's own grid."""

import io
import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ee
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RecipeError, SourceError, TransientSourceError
from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.earth_engine import recent, usage
from pipeline.sources.earth_engine.collections import DECIBEL, BandReference, parse_href
from pipeline.sources.earth_engine.expressions import (
    VALID,
    Bands,
    answer_names,
    band_name,
    pixel_grid,
    stacked_image,
    stacked_name,
)
from pipeline.sources.earth_engine.governor import Governor
from pipeline.sources.earth_engine.packing import MOST_BANDS, stack_length, tiles_of
from pipeline.sources.window import Wanted

logger = logging.getLogger(__name__)

TAG = "sen12-build"

Read = tuple[tuple[Wanted, ...], PatchGrid]
"""Bands of one acquisition on one patch."""
Answer = dict[BandReference, NDArray[Any]]


@dataclass(slots=True)
class EarthEngineReader:
    """Reads patches, in one thread at a time; every reference is one of `BandReference`."""

    governor: Governor
    _coming: list[Read] = field(default_factory=list, init=False)
    """What was announced and has not been asked for, in its order."""
    _answers: dict[Read, Answer] = field(default_factory=dict, init=False)
    """What came with another read and has not been asked for."""

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read one band; see `read_bands`."""
        return self.read_bands([Wanted(href, resampling)], grid)[0]

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several bands of one acquisition, in one request with those announced after it on the same grid.

        Returns
        -------
        For each of `wanted`, (size, size): uint8 scene classes with 0 for no data, masked uint16 digital numbers or
        uint8 land cover, or float32 with NaN for no data.

        Raises
        ------
        TransientSourceError, AllowanceError, SourceError, RecipeError
            As `Governor.send`; RecipeError also for too many bands.
        """
        read = (tuple(wanted), grid)
        bands = _bands(wanted)
        found = self._answers.get(read) or self._recalled(bands, grid)
        stack = self._taken(read)
        if found is None:
            found = self._read(stack)
        self._answers = {other: answer for other, answer in self._answers.items() if other in self._coming}
        return [found[parse_href(one.href)] for one in wanted]

    def _taken(self, read: Read) -> list[Read]:
        """Take a read off what is coming; return it with those that go into the same request, if it was announced."""
        if read not in self._coming:
            return [read]
        del self._coming[: self._coming.index(read)]
        count = stack_length([(tuple(_bands(wanted)), grid) for wanted, grid in self._coming])
        stack = list(dict.fromkeys(self._coming[:count]))
        del self._coming[0]
        return stack

    def _read(self, stack: Sequence[Read]) -> Answer:
        """Read what is asked for, the first of `stack`, and keep the rest for when it is."""
        try:
            answers = self._stacked([_bands(wanted) for wanted, _ in stack], stack[0][1])
        except TransientSourceError:
            raise
        except SourceError as err:
            if len(stack) == 1:
                raise
            # What is wrong with one image may not be said of the others: each is asked for by itself.
            logger.debug("asked for one by one: %s", err)
            self._coming = [read for read in self._coming if read not in stack]
            return self._stacked([_bands(stack[0][0])], stack[0][1])[0]
        self._answers = dict(zip(stack, answers, strict=True))
        return answers[0]

    def _stacked(self, stack: Sequence[Bands], grid: PatchGrid) -> list[Answer]:
        if len(stack) == 1:
            answer = np.zeros((grid.size, grid.size), _answer_type(stack))
            for rows, columns, tile in tiles_of(list(stack[0]), grid):
                answer[rows, columns] = self._fetch(stack, tile)
        else:
            answer = self._fetch(stack, grid)
        read = [_acquisition(answer, position, bands) for position, bands in enumerate(stack)]
        for reference, values in ((reference, one[reference]) for one in read for reference in filter(_is_kept, one)):
            recent.keep(self._key(reference, grid), values)
        return read

    def _recalled(self, bands: Bands, grid: PatchGrid) -> Answer | None:
        """Return bands that were read lately in this process; None where any was not."""
        if not all(map(_is_kept, bands)):
            return None
        kept = {reference: recent.recall(self._key(reference, grid)) for reference in bands}
        found = {reference: values for reference, values in kept.items() if values is not None}
        return found if len(found) == len(bands) else None

    def _key(self, reference: BandReference, grid: PatchGrid) -> Hashable:
        return self.governor.session, reference, grid

    def read_ahead(self, reads: Iterable[tuple[Sequence[Wanted], PatchGrid]]) -> None:
        """Note what will be asked for: what is read first brings those after it, as many as one request holds."""
        self._answers = {}
        self._coming = [(tuple(wanted), grid) for wanted, grid in reads]

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
        return joined_assets(assets)

    def is_decibel(self, href: str) -> bool:
        """Tell whether a band's numbers are decibels already."""
        return parse_href(href).collection in DECIBEL

    def _fetch(self, stack: Sequence[Bands], grid: PatchGrid) -> NDArray[Any]:
        more = sum(map(len, stack)) - 1
        subject = f"{next(iter(stack[0])).href} and {more} more at {grid.left:.0f}, {grid.top:.0f}"

        def ask() -> bytes:
            request = {
                "expression": stacked_image(stack),
                "fileFormat": "NPY",
                "grid": pixel_grid(grid),
                "workloadTag": TAG,
            }
            try:
                return bytes(ee.data.computePixels(request))
            except TimeoutError as err:
                if len(stack) == 1:
                    raise
                # Asked again it would take as long again; a single acquisition may answer in time.
                raise SourceError(f"{subject}: {len(stack)} acquisitions are too slow together") from err

        data = self.governor.send(ask, tag=TAG, subject=subject)
        usage.count(TAG, size=len(data))
        return _decoded(data, stack, grid, subject)


def joined_assets(assets: Sequence[AssetRef]) -> list[AssetRef]:
    """Return the scenes of one acquisition as they are asked for: as one, unless their offsets differ."""
    if len(assets) < 2 or len({asset.offset for asset in assets}) > 1:
        return list(assets)
    columns = zip(*(asset.hrefs for asset in assets), strict=True)
    masks = [asset.mask_href for asset in assets]
    merged = replace(assets[0], hrefs=tuple(map(_together, columns)), mask_href=_together(masks) if all(masks) else "")
    return [merged]


def _together(hrefs: Sequence[str]) -> str:
    parsed = [parse_href(href) for href in hrefs]
    return replace(parsed[0], assets=tuple(asset for one in parsed for asset in one.assets)).href


def _decoded(data: bytes, stack: Sequence[Bands], grid: PatchGrid, subject: str) -> NDArray[Any]:
    try:
        answer = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as err:
        raise TransientSourceError(f"{subject}: the answer is not an array: {err}") from err
    dtype = _answer_type(stack)
    if answer.shape != (grid.size, grid.size) or answer.dtype != dtype:
        raise TransientSourceError(f"{subject}: the answer is {answer.shape} of {answer.dtype}, not {grid.size} px")
    return np.asarray(answer)


def _answer_type(stack: Sequence[Bands]) -> np.dtype[Any]:
    fields: list[tuple[str, str]] = []
    for position, bands in enumerate(stack):
        encodings = [*(reference.encoding for reference in bands), "uint16"]
        names = (stacked_name(position, name) for name in answer_names(bands))
        fields += zip(names, encodings, strict=True)
    return np.dtype(fields)


def _acquisition(answer: NDArray[Any], position: int, bands: Bands) -> Answer:
    """Return the bands of the `position`-th acquisition of an answer."""
    valid = answer[stacked_name(position, VALID)]
    return {
        reference: _marked(reference, answer[stacked_name(position, band_name(index))], (valid >> index) & 1 == 1)
        for index, reference in enumerate(bands)
    }


def _bands(wanted: Sequence[Wanted]) -> Bands:
    bands = {parse_href(one.href): one.resampling for one in wanted}
    if len(bands) > MOST_BANDS:
        raise RecipeError(f"{len(bands)} bands are asked for at once, of {MOST_BANDS} at most: take fewer bands")
    return bands


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
