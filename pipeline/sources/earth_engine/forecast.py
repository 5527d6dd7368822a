"""What reading will cost: from the plan alone, before a pixel is fetched."""

from collections.abc import Iterable, Sequence

from pipeline.records import AssetRef, PatchGrid
from pipeline.sources.contract import Forecast
from pipeline.sources.earth_engine.collections import parse_href
from pipeline.sources.earth_engine.pixels import request_bytes

EECU_SECONDS_PER_REQUEST = 0.5
"""Compute of one patch: an assumption, on the safe side for images that are read and not computed with; the project's
monitoring shows the true use, by workload tag."""


def forecast_reads(reads: Iterable[tuple[Sequence[AssetRef], PatchGrid]]) -> Forecast:
    """Return the cost of reading acquisitions, one request each."""
    requests = size = 0
    for assets, grid in reads:
        first = assets[0]
        hrefs = dict.fromkeys([first.mask_href, *first.hrefs] if first.mask_href else first.hrefs)
        requests += 1
        size += request_bytes([parse_href(href) for href in hrefs], grid)
    return Forecast(requests, size, requests * EECU_SECONDS_PER_REQUEST / 3600)
