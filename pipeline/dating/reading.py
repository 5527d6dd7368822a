"""From scenes to observations: what every acquisition shows of each polygon and of the ring around it.

Bands and classification are read nearest onto the polygon's own 10 m grid, so a pixel's reflectance and its class are
those of one place; each scene's own offset is added before the tiles of an acquisition are joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import grid as grids
from pipeline.dating.series import Observation
from pipeline.dating.targets import POLYGON_VALUE, RING_VALUE, Target
from pipeline.errors import SourceError, TransientSourceError
from pipeline.patches import harmonise_inplace
from pipeline.pixels.ndvi import CLEAR_CLASSES, clear_ndvi, robust_median
from pipeline.plan.candidates import find_candidates
from pipeline.plan.choices import MASK_BAND, to_choice
from pipeline.records import S2_NODATA, AssetRef, Choice, PatchGrid, Sample, Scene
from pipeline.sources.access import Signer
from pipeline.sources.reading import WindowReader, open_reader

BANDS = ("B04", "B08")
"""Red and near infrared."""
NO_SCENE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One acquisition, and the polygons to be looked at on it."""

    choice: Choice
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a visit showed."""

    observations: tuple[tuple[int, Observation], ...]
    """With the row of each polygon in the inventory."""
    unreadable: tuple[str, ...] = ()
    """Why an observation is absent, one line for each that is."""


def visits_of(targets: Sequence[Target], scenes: Sequence[Scene], *, largest: int = 256) -> list[Visit]:
    """Group polygons by the scenes that are read for them, so that each scene is opened once for all of a visit.

    Parameters
    ----------
    targets : sequence of Target
        Polygons to be looked at.
    scenes : sequence of Scene
        Scenes that have `BANDS` and the classification.
    largest : int
        Most polygons of a visit.
    """
    by_id = {target.id: target for target in targets}
    groups: dict[tuple[str, ...], tuple[Choice, list[Target]]] = {}
    for name, candidates in find_candidates([_as_sample(target) for target in targets], scenes, None).items():
        for candidate in candidates:
            choice = to_choice(candidate, BANDS, None, mask=MASK_BAND)
            key = tuple(asset.scene_id for asset in choice.assets)
            groups.setdefault(key, (choice, []))[1].append(by_id[name])
    return [
        Visit(choice=choice, targets=tuple(members[first : first + largest]))
        for _, (choice, members) in sorted(groups.items())
        for first in range(0, len(members), largest)
    ]


def _as_sample(target: Target) -> Sample:
    lon, lat = grids.centre(target.grid)
    return Sample(id=target.id, region="", grid=target.grid, lon=lon, lat=lat, date=None, is_annotated=True)


def read_visit(visit: Visit, source: Signer) -> Seen:
    """Look at every polygon of a visit; an observation that cannot be read is absent.

    Raises
    ------
    TransientSourceError
        The provider could not be reached now: nothing is dated, or luck would choose the dates.
    """
    observations, unreadable = [], []
    with open_reader(source) as reader:
        for target in visit.targets:
            try:
                observations.append((target.row, observe(target, visit.choice, reader)))
            except TransientSourceError:
                raise
            except SourceError as err:
                unreadable.append(str(err))
    return Seen(observations=tuple(observations), unreadable=tuple(unreadable))


def observe(target: Target, choice: Choice, reader: WindowReader) -> Observation:
    """Return what one acquisition shows of one polygon; bands are read only where some of the polygon is clear.

    Raises
    ------
    SourceError
        A file cannot be read.
    """
    zones = target.zones
    inside, around = zones == POLYGON_VALUE, zones == RING_VALUE
    classes, owners = _read_classes(choice.assets, target.grid, reader)
    size = int(inside.sum())
    polygon = ring = np.empty(0, np.float64)
    if np.isin(classes[inside], CLEAR_CLASSES).any():
        red, infrared = _read_bands(choice.assets, owners, target.grid, reader)
        polygon, ring = (clear_ndvi(red, infrared, classes, chosen) for chosen in (inside, around))
    return Observation(
        id=target.id,
        acquired=choice.acquired.replace(microsecond=0),
        file_id=choice.file_id,
        ndvi=_median(polygon),
        ndvi_undisturbed=_median(ring),
        pixels=polygon.size,
        pixels_undisturbed=ring.size,
        clear=polygon.size / size,
    )


def _median(values: NDArray[np.float64]) -> float | None:
    return robust_median(values) if values.size else None


def _read_classes(
    assets: Sequence[AssetRef], grid: PatchGrid, reader: WindowReader
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Return the classification, first scene with data wins, and the number of the scene that each pixel is of."""
    classes = np.zeros((grid.size, grid.size), np.uint8)
    owners = np.full(classes.shape, NO_SCENE, np.int16)
    for number, asset in enumerate(assets):
        is_open = classes == 0
        if not is_open.any():
            break
        found = reader.read(asset.mask_href, grid, resampling="nearest").astype(np.uint8)
        taken = is_open & (found != 0)
        classes[taken] = found[taken]
        owners[taken] = number
    return classes, owners


def _read_bands(
    assets: Sequence[AssetRef], owners: NDArray[np.int16], grid: PatchGrid, reader: WindowReader
) -> NDArray[np.int16]:
    """Return reflectance without offsets, int16 (band, y, x)."""
    values = np.full((len(BANDS), *owners.shape), S2_NODATA, np.int16)
    for number in np.unique(owners[owners != NO_SCENE]).tolist():
        asset, taken = assets[number], owners == number
        for band, href in enumerate(asset.hrefs):
            read = reader.read(href, grid, resampling="nearest")
            harmonise_inplace(values[band], read, taken, href=href, offset=asset.offset)
    return values
