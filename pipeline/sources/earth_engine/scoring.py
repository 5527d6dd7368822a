"""How good images are, judged on the server: one request for all dates of a group of places."""

from collections.abc import Mapping, Sequence
from typing import Any

import ee

from pipeline.errors import SourceError
from pipeline.pixels.classification import ClassShares
from pipeline.records import PatchGrid, Resampling
from pipeline.sources.contract import ScoreWindow
from pipeline.sources.earth_engine.collections import CLASSES, DECIBEL, parse_href
from pipeline.sources.earth_engine.expressions import resampled
from pipeline.sources.earth_engine.governor import Governor

TAG = "sen12-survey"

CLEAR = 0.6
"""Cloud Score+ from which a pixel counts as clear: the value that its authors recommend to start with."""

_SCORE_BAND = "cs_cdf"
_WINDOW = "window"
_CLOUD_CLASSES = (8, 9, 10)
_SHADOW, _SNOW = 3, 11
_DARK_CLASSES = (1, 2)
_LOWEST_DECIBEL = -1e6
"""Below every backscatter, but a number: the logarithm of no power at all is none."""
_SHARES = ("nodata", "cloud", "shadow", "snow", "dark")

Phase = tuple[int, float, float, float]
"""Zone, pixel size, and where within a pixel of the zone's origin the grid starts."""


def shares_on_server(governor: Governor, windows: Sequence[ScoreWindow], clouds: str | None) -> list[ClassShares]:
    """Return what hides the ground in each window, in the order of `windows`; of radar, where it measured nothing.

    Shares are counts of the patch's own pixels: the server's means are taken back to whole pixels, so that they are
    those that reading the pixels gives.

    Parameters
    ----------
    governor
        Sends the request.
    windows
        At most as many as one page of an answer holds.
    clouds
        Collection of Cloud Score+, which then tells clouds and shadows; None takes the scene classification's.

    Raises
    ------
    TransientSourceError, AllowanceError, RecipeError
        As `Governor.send`.
    SourceError
        The request is refused, or its answer lacks a window.
    """
    subject = f"scoring {len(windows)} windows from {windows[0].hrefs[0]}"

    def ask() -> Mapping[str, Any]:
        # An expression can be made only once the client is connected.
        parameters = {"expression": _table(windows, clouds), "pageSize": len(windows), "workloadTag": TAG}
        answer: Mapping[str, Any] = ee.data.computeFeatures(parameters)
        return answer

    answer = governor.send(ask, tag=TAG, subject=subject)
    rows = {int(row["properties"][_WINDOW]): row["properties"] for row in answer.get("features", [])}
    if sorted(rows) != list(range(len(windows))) or "nextPageToken" in answer:
        raise SourceError(f"{subject}: the answer has {len(rows)} windows")
    return [_shares(rows[number], window.grid) for number, window in enumerate(windows)]


def _shares(row: Mapping[str, Any], grid: PatchGrid) -> ClassShares:
    pixels = grid.size**2
    return ClassShares(**{name: round(float(row[name]) * pixels) / pixels for name in _SHARES})


def _table(windows: Sequence[ScoreWindow], clouds: str | None) -> Any:
    groups: dict[tuple[Phase, tuple[str, ...], Resampling | None], list[int]] = {}
    for number, window in enumerate(windows):
        groups.setdefault((_phase(window.grid), window.hrefs, window.radar), []).append(number)
    tables = []
    for (phase, hrefs, radar), numbers in groups.items():
        image = _hidden(hrefs, clouds) if radar is None else _unmeasured(hrefs, radar)
        tables.append(_reduced(image, phase, [(number, windows[number].grid) for number in numbers]))
    return ee.FeatureCollection(tables).flatten()


def _phase(grid: PatchGrid) -> Phase:
    return grid.epsg, grid.resolution, grid.left % grid.resolution, grid.top % grid.resolution


def _reduced(image: Any, phase: Phase, places: Sequence[tuple[int, PatchGrid]]) -> Any:
    epsg, resolution, left, top = phase
    crs = f"EPSG:{epsg}"
    features = [
        ee.Feature(ee.Geometry.Rectangle(list(grid.bounds), crs, False), {_WINDOW: number})  # noqa: FBT003
        for number, grid in places
    ]
    return image.reduceRegions(
        collection=ee.FeatureCollection(features),
        reducer=ee.Reducer.mean(),
        crs=crs,
        crsTransform=[resolution, 0, left, 0, -resolution, top],
    )


def _hidden(hrefs: Sequence[str], clouds: str | None) -> Any:
    """Return bands of 0 and 1 of one acquisition: where there is no data, cloud, shadow, snow, and where it is dark."""
    assets = [asset for href in hrefs for asset in parse_href(href).assets]
    images = [_judged(asset, clouds) for asset in assets]
    seen = [image.updateMask(image.select([CLASSES]).neq(0)) for image in images]
    mosaic = ee.ImageCollection(seen[::-1]).mosaic().unmask(0, False)  # noqa: FBT003
    classes = mosaic.select([CLASSES])
    nodata, snow = classes.eq(0).Or(classes.gt(_SNOW)), classes.eq(_SNOW)
    if clouds is None:
        cloud = classes.gte(_CLOUD_CLASSES[0]).And(classes.lte(_CLOUD_CLASSES[-1]))
        shadow = classes.eq(_SHADOW)
    else:
        cloud = mosaic.select([_SCORE_BAND]).lt(CLEAR).And(nodata.Not())
        shadow = classes.lt(0)
    dark = classes.gte(_DARK_CLASSES[0]).And(classes.lte(_DARK_CLASSES[-1]))
    return ee.Image.cat(nodata, cloud, shadow, snow, dark).rename(list(_SHARES))


def _unmeasured(hrefs: Sequence[str], rule: Resampling) -> Any:
    """Return bands as `_hidden` does, of which only the first is not 0: where no scene has a power above 0."""
    missing = ee.Image.constant(1)
    for reference in map(parse_href, hrefs):
        lowest = _LOWEST_DECIBEL if reference.collection in DECIBEL else 0
        for asset in reference.assets:
            measured = resampled(ee.Image(asset).select([reference.band]), rule).gt(lowest)
            missing = missing.And(measured.unmask(0, False).Not())  # noqa: FBT003
    nothing = [ee.Image.constant(0)] * (len(_SHARES) - 1)
    return ee.Image.cat(missing, *nothing).rename(list(_SHARES))


def _judged(asset: str, clouds: str | None) -> Any:
    image = ee.Image(asset)
    if clouds is not None:
        image = image.linkCollection(ee.ImageCollection(clouds), [_SCORE_BAND])
        return image.select([CLASSES, _SCORE_BAND])
    return image.select([CLASSES])
