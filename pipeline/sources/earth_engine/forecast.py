"""What reading will cost: from the plan alone, before a pixel is fetched."""

from collections.abc import Iterable, Sequence

from pipeline.records import AssetRef, PatchGrid
from pipeline.sources.contract import Forecast
from pipeline.sources.earth_engine.collections import parse_href
from pipeline.sources.earth_engine.pixels import request_bytes, tiles_of

EECU_SECONDS_PER_REQUEST = 0.5
"""Compute of one patch: an assumption, on the safe side for images that are read and not computed with; the project's
monitoring shows the true use, by workload tag."""


def forecast_reads(reads: Iterable[tuple[Sequence[AssetRef], PatchGrid]]) -> Forecast:
    """Return the most that reading acquisitions costs: one request each, several where one would be too large.

    A process that reads Sentinel-2 and then its classification asks for less.
    """
    requests = size = 0
    for assets, grid in reads:
        first = assets[0]
        hrefs = dict.fromkeys([first.mask_href, *first.hrefs] if first.mask_href else first.hrefs)
        bands = [parse_href(href) for href in hrefs]
        tiles = tiles_of(bands, grid)
        requests += len(tiles)
        size += sum(request_bytes(bands, tile) for _, _, tile in tiles)
    return Forecast(requests, size, requests * EECU_SECONDS_PER_REQUEST / 3600)
