"""When and where the images of one file were taken: `time_` against `file_id`, the zone against the tiles, the grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline import grid
from pipeline.published.arrays import Labels
from pipeline.published.standard import (
    belong,
    epsg_of_tile,
    is_sentinel1,
    is_sentinel2,
    misordered,
    stamps_of,
    tiles_of,
)

CENTRE_TOLERANCE = 3.0
"""Pixels between centre and `center_lon`, `center_lat`: the published patches were snapped to a grid afterwards."""

SPACING_TOLERANCE = 1e-3
"""Metres."""


def time_problems(labels: Labels) -> Iterator[str]:
    """Yield what is wrong with `file_id` and `time_` of a Sentinel modality."""
    if not (is_sentinel1(labels.modality) or is_sentinel2(labels.modality)):
        return
    stamps = stamps_of(labels.file_ids, labels.modality)
    named = labels.file_ids != ""
    foreign = named & np.isnat(stamps)
    if is_sentinel2(labels.modality):
        foreign |= named & (tiles_of(labels.file_ids) == "")
        yield from _order_problems(labels)
    if foreign.any():
        first = f"{labels.images[foreign][0]}: {labels.file_ids[foreign][0]}"
        yield f"file_id names no product of v1.1's form for {int(foreign.sum())} images (first: {first})"
    yield from _belonging_problems(labels, stamps, ~foreign)


def _belonging_problems(labels: Labels, stamps: NDArray[np.datetime64], judged: NDArray[np.bool_]) -> Iterator[str]:
    mixed = misordered(labels.file_ids, labels.times, labels.modality)
    if mixed.any():
        repair = "; `sen12 repair` puts it right" if is_sentinel1(labels.modality) else ""
        yield (
            f"time_ is in another order than bands and file_id in {int(mixed.sum())} of {mixed.size} samples "
            f"(first: {labels.samples[mixed][0]}){repair}"
        )
    wrong = judged & ~belong(stamps, labels.times) & ~mixed[:, None]
    if wrong.any():
        came, wanted = _moment(labels.times[wrong][0]), _moment(stamps[wrong][0])
        yield (
            f"time_ is not the time in file_id for {int(wrong.sum())} images "
            f"(first: {labels.images[wrong][0]}: {came}, expected {wanted})"
        )


def _order_problems(labels: Labels) -> Iterator[str]:
    falling = np.array([_falls(times[~np.isnat(times)]) for times in labels.times], np.bool_)
    if falling.any():
        yield f"time_ does not ascend in {int(falling.sum())} samples (first: {labels.samples[falling][0]})"


def _falls(times: NDArray[np.datetime64]) -> bool:
    return bool(np.any(np.diff(times) <= np.timedelta64(0)))


def _moment(time: np.datetime64) -> str:
    return "none" if np.isnat(time) else str(time.astype("datetime64[s]"))


def zone_problems(labels: Labels) -> Iterator[str]:
    """Yield where `crs` is not the zone of most of the sample's tiles; of Sentinel-2 labels."""
    tiles = tiles_of(labels.file_ids)
    wrong = [index for index, epsg in enumerate(labels.epsg.tolist()) if epsg not in _majority(tiles[index], epsg)]
    if wrong:
        name, came = labels.samples[wrong[0]], labels.epsg[wrong[0]]
        wanted = " or ".join(str(epsg) for epsg in sorted(_majority(tiles[wrong[0]], 0)))
        yield (
            f"crs is not the zone of most of the sample's tiles for {len(wrong)} samples "
            f"(first: {name}: {came}, expected {wanted})"
        )


def _majority(tiles: NDArray[np.str_], default: int) -> set[int]:
    zones = [epsg_of_tile(tile) for tile in map(str, tiles) if tile]
    most = max(map(zones.count, zones), default=0)
    return {zone for zone in zones if zones.count(zone) == most} or {default}


def grid_problems(labels: Labels, spacing: float) -> Iterator[str]:
    """Yield what is wrong with `crs`, `x_`, `y_`, `center_lon` and `center_lat`."""
    for name, coordinate, step in (("x_", labels.eastings, spacing), ("y_", labels.northings, -spacing)):
        off = ~(np.abs(np.diff(coordinate, axis=1) - step) <= SPACING_TOLERANCE).all(axis=1)
        if off.any():
            way = "rise" if step > 0 else "fall"
            yield (
                f"{name} does not {way} by {spacing:g} m a pixel in {int(off.sum())} samples "
                f"(first: {labels.samples[off][0]})"
            )
    no_zone = ~is_utm(labels.epsg)
    if no_zone.any():
        first = f"{labels.samples[no_zone][0]}: {labels.epsg[no_zone][0]}"
        yield f"crs is no UTM zone (326zz or 327zz) in {int(no_zone.sum())} samples (first: {first})"
    far = _centre_distances(labels) > CENTRE_TOLERANCE * spacing
    if far.any():
        lon, lat = labels.lon[far][0], labels.lat[far][0]
        first = f"{labels.samples[far][0]}: {lon:.5f}, {lat:.5f}"
        yield f"center_lon, center_lat are not the middle of x_ and y_ in {int(far.sum())} samples (first: {first})"


def is_utm(epsg: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which codes are those of UTM zones on WGS 84."""
    zone = epsg % 100
    return np.asarray(np.isin(epsg // 100, (326, 327)) & (zone >= 1) & (zone <= 60))


def _centre_distances(labels: Labels) -> NDArray[np.float64]:
    """Return the distance [m] of each sample's stated centre from that of its pixels; 0 where `crs` is no zone."""
    distances = np.zeros(len(labels.samples))
    for epsg in np.unique(labels.epsg[is_utm(labels.epsg)]).tolist():
        here = labels.epsg == epsg
        easting, northing = grid.to_utm(lon=labels.lon[here], lat=labels.lat[here], epsg=epsg)
        aside = easting - labels.eastings[here][:, [0, -1]].mean(axis=1)
        along = northing - labels.northings[here][:, [0, -1]].mean(axis=1)
        gap = np.hypot(aside, along)
        distances[here] = np.where(np.isnan(gap), np.inf, gap)
    return distances
