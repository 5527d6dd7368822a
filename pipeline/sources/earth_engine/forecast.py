"""What reading will cost: from the plan alone, before a pixel is fetched."""

from collections.abc import Iterable, Iterator, Sequence

from pipeline.records import AssetRef, PatchGrid
from pipeline.sources.contract import Forecast
from pipeline.sources.earth_engine.collections import parse_href
from pipeline.sources.earth_engine.packing import Acquisition, request_bytes, stack_length, tiles_of
from pipeline.sources.earth_engine.pixels import joined_assets

EECU_SECONDS_PER_PATCH = 0.5
"""Compute of one acquisition on one patch, in a request of its own or with others: an assumption, on the safe side for
images that are read and not computed with; the project's monitoring shows the true use, by workload tag."""

Patches = Sequence[tuple[Acquisition, PatchGrid]]


def forecast_reads(batches: Iterable[Sequence[tuple[Sequence[AssetRef], PatchGrid]]]) -> Forecast:
    """Return the most that reading batches of acquisitions costs: as many in a request as it holds.

    A process that reads Sentinel-2 and then its classification asks for less; what is asked for again after a fault,
    or one by one because an image is gone, comes on top.
    """
    requests = size = parts = 0
    for stack in (stack for batch in batches for stack in _stacks(batch)):
        tiles = [tile for bands, grid in stack for tile in _tiles(bands, grid)]
        requests += 1 if len(stack) > 1 else len(tiles)
        parts += len(tiles)
        size += sum(request_bytes(bands, tile) for bands, tile in tiles)
    return Forecast(requests, size, parts * EECU_SECONDS_PER_PATCH / 3600)


def _stacks(batch: Sequence[tuple[Sequence[AssetRef], PatchGrid]]) -> Iterator[Patches]:
    """Yield what is asked for in one request; only the first of several images that cannot be joined is announced."""
    read = [([_bands(asset) for asset in joined_assets(assets)], grid) for assets, grid in batch]
    coming = [(first, grid) for (first, *_), grid in read]
    while coming:
        count = stack_length(coming)
        yield list(dict.fromkeys(coming[:count]))
        del coming[:count]
    yield from ([(bands, grid)] for (_, *others), grid in read for bands in others)


def _bands(asset: AssetRef) -> Acquisition:
    hrefs = dict.fromkeys([asset.mask_href, *asset.hrefs] if asset.mask_href else asset.hrefs)
    return tuple(parse_href(href) for href in hrefs)


def _tiles(bands: Acquisition, grid: PatchGrid) -> list[tuple[Acquisition, PatchGrid]]:
    return [(bands, tile) for _, _, tile in tiles_of(bands, grid)]
