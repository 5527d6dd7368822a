"""One patch of one modality: its assets read, mosaicked, harmonised, masked and scaled, or its labels drawn."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline import grid as grids
from pipeline.errors import SourceError
from pipeline.pixels.classification import cloud_mask_from_scl
from pipeline.pixels.gaps import fill_nearest
from pipeline.pixels.labels import ABSENT, PRESENT, UNCERTAIN, rasterize_fraction, rasterize_mask, rasterize_states
from pipeline.pixels.numbers import as_numbers_of, has_bits, take_measured_inplace
from pipeline.pixels.reflectance import apply_offset_inplace
from pipeline.pixels.rgb import Stretch, stretch_of, to_rgb
from pipeline.pixels.sar import power_to_db
from pipeline.records import (
    S2_NODATA,
    AssetRef,
    Choice,
    Modality,
    PatchGrid,
    Recipe,
    Shard,
    ShardSample,
)
from pipeline.sources.copies import grid_problem
from pipeline.sources.reading import FileReader, WindowReader
from pipeline.sources.window import Wanted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """What a patch stores."""

    values: NDArray[Any]
    """(band, y, x) in the modality's dtype, no data as the modality marks it."""
    cloud_mask: NDArray[np.uint8] | None = None
    """(y, x) classes 0-6; Sentinel-2 only."""
    stretch: Stretch | None = None
    """What became 0 and 255; pictures only."""

    def valid_share(self, nodata: float | None) -> float:
        """Return the share of values with data [1]."""
        return float(_is_valid(self.values, nodata).mean())

    def is_fillable(self, nodata: float | None) -> bool:
        """Tell whether every band has a pixel to fill its gaps from."""
        return bool(_is_valid(self.values, nodata).any(axis=(1, 2)).all())


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchReader:
    """Reads the patches of one shard; used by one thread at a time."""

    shard: Shard
    recipe: Recipe
    reader: WindowReader

    @property
    def modality(self) -> Modality:
        """The shard's modality."""
        return self.shard.kind

    def wanted(self, asset: AssetRef) -> list[Wanted]:
        """Return what is read of one scene: of Sentinel-2 its classification first; a quality band of others last."""
        rule = self.recipe.resampling_of(self.modality.name)
        bands = [Wanted(href, rule) for href in asset.hrefs]
        if self.modality.product in OPTICAL:
            return [Wanted(asset.mask_href, "nearest"), *bands]
        return [*bands, Wanted(asset.mask_href, "nearest")] if asset.mask_href else bands

    def read_ahead(self, reads: Iterable[tuple[Choice, ShardSample]]) -> None:
        """Have the first scene of several acquisitions read together; see `WindowReader.read_ahead`."""
        if self.modality.product == "LABELS":
            return
        first = [(self.reader.joined(choice.assets)[0], sample.grid) for choice, sample in reads if choice.assets]
        self.reader.read_ahead((self.wanted(asset), grid) for asset, grid in first)

    def read(self, choice: Choice, sample: ShardSample) -> Patch:
        """Read one acquisition over one sample, or draw the labels at its moment.

        Raises
        ------
        TransientSourceError, SourceError
            As `RasterReader.read`.
        """
        if self.modality.product == "LABELS":
            states = states_at(sample, choice.acquired)
            return Patch(values=draw_labels(self.modality.name, sample, states))
        if choice.source and self.modality.product in OPTICAL:
            self._require_grid(choice, sample.grid)
        return _READERS.get(self.modality.product, _read_own)(self, choice.assets, sample)

    def _require_grid(self, choice: Choice, grid: PatchGrid) -> None:
        """Refuse what a mirror has of an image in another zone than its tile's, or resampled; raises SourceError."""
        if not isinstance(self.reader, FileReader) or not choice.tile:
            return
        epsg = grids.tile_epsg(choice.tile)
        for href, band in zip(choice.assets[0].hrefs, self.shard.bands, strict=True):
            problem = grid_problem(self.reader.placement(href), epsg, self.modality.band(band).resolution, grid)
            if problem:
                raise SourceError(f"{href} {problem}: it is no copy of the image that is planned")


def states_at(sample: ShardSample, acquired: datetime) -> tuple[int, ...]:
    """Return for each event of a sample whether its slide had come down (1), had not (0), or may have (255)."""
    return tuple(
        PRESENT if event.is_after(acquired) else ABSENT if event.is_before(acquired) else UNCERTAIN
        for event in sample.events
    )


def draw_labels(name: str, sample: ShardSample, states: Sequence[int]) -> NDArray[Any]:
    """Return what a label modality stores for one sample, from its events alone.

    Returns
    -------
    (1, y, x) in the modality's dtype
        MASK: 1 where a polygon touches the pixel. MASK_FRACTION: share of the pixel [1]. MASK_SERIES: 1 where a slide
        that touches the pixel had come down, 0 where none had, 255 where that is uncertain, by `states`.
    """
    grid = sample.grid
    polygons = [grids.project(shapely.from_wkb(event.wkb), grid.epsg) for event in sample.events]
    if name == "MASK_FRACTION":
        return rasterize_fraction(polygons, grid)[np.newaxis]
    if name == "MASK_SERIES":
        return rasterize_states(polygons, states, grid)[np.newaxis]
    return rasterize_mask(polygons, grid)[np.newaxis]


OPTICAL = frozenset({"S2L2A", "S2L1C"})
"""Products of digital numbers that carry an offset, whose scenes have a classification beside their bands."""


def close_gaps(patch: Patch, modality: Modality) -> Patch:
    """Fill every pixel without data from the nearest valid pixel of its band; each band must have one."""
    values = patch.values.copy()
    for index, band in enumerate(patch.values):
        values[index] = fill_nearest(band, _is_valid(band, modality.nodata))
    return replace(patch, values=values)


def _is_valid(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.asarray(np.isfinite(values), np.bool_)
    return np.ones(values.shape, np.bool_) if nodata is None else np.asarray(values != nodata, np.bool_)


def _read_optical(patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample) -> Patch:
    """Read Sentinel-2; the scene classification says which scene of the acquisition a pixel comes from."""
    grid, modality = sample.grid, patches.modality
    shape = (len(patches.shard.bands), grid.size, grid.size)
    is_class = modality.name == "SCL"
    values = np.zeros(shape, np.uint8) if is_class else np.full(shape, S2_NODATA, np.int16)
    classes = np.zeros(shape[1:], np.uint8)
    for asset in patches.reader.joined(assets):
        open_pixels = classes == 0
        if not open_pixels.any():
            break
        mask, *bands = patches.reader.read_bands(patches.wanted(asset), grid)
        found = mask.astype(np.uint8)
        take = open_pixels & (found != 0)
        if not take.any():
            continue
        classes[take] = found[take]
        for index, (href, read) in enumerate(zip(asset.hrefs, bands, strict=True)):
            if is_class:
                values[index][take] = read[take]
            else:
                harmonise_inplace(values[index], read, take, href=href, offset=asset.offset)
    return _finished(patches, values, cloud_mask_from_scl(classes))


def _finished(patches: PatchReader, values: NDArray[Any], cloud_mask: NDArray[np.uint8]) -> Patch:
    """Bring offset-free reflectance into what the modality stores."""
    if patches.modality.name == "SCL":
        return Patch(values=values, cloud_mask=cloud_mask)
    if patches.modality.name != "S2RGB" and not patches.recipe.offset:
        return Patch(values=values, cloud_mask=cloud_mask)
    valid = values != S2_NODATA
    if patches.modality.name == "S2RGB":
        stretch = stretch_of(values, valid.all(axis=0))
        return Patch(values=np.where(valid, to_rgb(values, stretch), 0), cloud_mask=cloud_mask, stretch=stretch)
    shifted = np.minimum(values.astype(np.int32) + patches.recipe.offset, np.iinfo(np.int16).max)
    return Patch(values=np.where(valid, shifted, S2_NODATA).astype(np.int16), cloud_mask=cloud_mask)


def harmonise_inplace(
    image: NDArray[np.int16], read: NDArray[Any], take: NDArray[np.bool_], *, href: str, offset: int
) -> None:
    """Put reflectance without offset into `image`, where `take` is set and the source has a number."""
    is_masked = isinstance(read, np.ma.MaskedArray)
    measured = take & ~np.ma.getmaskarray(read) if is_masked else take
    apply_offset_inplace(image, as_numbers(np.ma.getdata(read), href), measured, offset=offset)


def as_numbers(read: NDArray[Any], href: str) -> NDArray[np.uint16] | NDArray[np.int32]:
    """Return what a Sentinel-2 file holds as digital numbers; raises SourceError where it holds no integers."""
    if read.dtype == np.uint16:
        return read
    if read.dtype.kind not in "iu":
        raise SourceError(f"{href} holds {read.dtype}, not digital numbers")
    return read.astype(np.int32)


def _read_radar(patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample) -> Patch:
    if assets and patches.reader.is_decibel(assets[0].hrefs[0]):
        return Patch(values=_float_mosaic(patches, assets, sample).astype(patches.modality.dtype))
    power = _float_mosaic(patches, assets, sample, lowest=0.0)
    return Patch(values=power_to_db(power, dtype=patches.modality.dtype))


def _read_elevation(patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample) -> Patch:
    return Patch(values=_float_mosaic(patches, assets, sample))


def _float_mosaic(
    patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample, *, lowest: float = -np.inf
) -> NDArray[np.float32]:
    """Return float32 (band, y, x): a pixel's bands come from one scene, the first that measured any above `lowest`."""
    grid = sample.grid
    mosaic = np.full((len(patches.shard.bands), grid.size, grid.size), np.nan, np.float32)
    for number, asset in enumerate(patches.reader.joined(assets)):
        open_pixels = np.ones(mosaic.shape[1:], np.bool_)
        if number:
            open_pixels &= np.isnan(mosaic).all(axis=0)
        if not open_pixels.any():
            break
        for band, read in zip(mosaic, patches.reader.read_measured_bands(patches.wanted(asset), grid), strict=True):
            take_measured_inplace(band, read, open_pixels, lowest=lowest)
    return mosaic


def _read_land_cover(patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample) -> Patch:
    """Read classes; where no scene has any, the modality's no data."""
    nodata, shape = np.uint8(patches.modality.nodata or 0), (sample.grid.size, sample.grid.size)
    values = np.full((len(patches.shard.bands), *shape), nodata)
    for asset in patches.reader.joined(assets):
        for index, read in enumerate(patches.reader.read_bands(patches.wanted(asset), sample.grid)):
            take = (values[index] == nodata) & ~np.ma.getmaskarray(read)
            values[index][take] = np.ma.getdata(read)[take]
    return Patch(values=values)


def _read_own(patches: PatchReader, assets: Sequence[AssetRef], sample: ShardSample) -> Patch:
    """Read a modality of the recipe's own: a pixel's bands come from one scene, the first that has any of them."""
    modality, name = patches.modality, patches.shard.modality
    own, count, grid = patches.recipe.own_modalities[name], len(patches.shard.bands), sample.grid
    read = np.full((count + (own.mask is not None), grid.size, grid.size), np.nan, np.float32)
    for asset in patches.reader.joined(assets):
        open_pixels = np.isnan(read).all(axis=0)
        if not open_pixels.any():
            break
        for index, band in enumerate(patches.reader.read_measured_bands(patches.wanted(asset), grid)):
            read[index][open_pixels] = band[open_pixels]
    values = read[:count]
    if own.mask is not None:
        values[:, has_bits(read[count], own.mask.bits)] = np.nan
    return Patch(values=as_numbers_of(values, modality.dtype, modality.nodata, subject=f"own_modalities.{name}"))


_READERS: dict[str, Callable[[PatchReader, Sequence[AssetRef], ShardSample], Patch]] = {
    "S2L2A": _read_optical,
    "S2L1C": _read_optical,
    "S1": _read_radar,
    "DEM": _read_elevation,
    "LULC": _read_land_cover,
}
