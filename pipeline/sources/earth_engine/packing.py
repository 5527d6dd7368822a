"""How much one request holds: parts of a patch that is too large for one, dates of a patch that fit into one."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.records import PatchGrid
from pipeline.sources.earth_engine.collections import BandReference

LARGEST_REQUEST = 48 << 20
"""Earth Engine's limit of one request: decoded size of its answer [bytes]."""

MOST_BANDS = 16
"""Bands of one acquisition: the band `VALID` has a bit for each."""

MOST_STACKED = 5
"""Acquisitions of one request. Earth Engine would take 1024 bands, but a stack is repeated as a whole where it fails,
must be computed before the deadline of one request, and is held in memory by every thread: five of Sentinel-2 at 264 px
are 10 MB. A season's four are one request, a series of fifteen three."""

Acquisition = tuple[BandReference, ...]
"""Bands of one acquisition, none twice."""


def request_bytes(bands: Sequence[BandReference], grid: PatchGrid) -> int:
    """Return the decoded size of one request [bytes]; one more byte a value is what the server counts for its mask."""
    itemsizes = [np.dtype(reference.encoding).itemsize for reference in bands]
    return grid.size**2 * (sum(itemsizes) + 2 + len(bands) + 1)


def stack_length(reads: Sequence[tuple[Acquisition, PatchGrid]]) -> int:
    """Return how many of the first of `reads` are asked for in one request, at least one; what comes twice goes once.

    They are of one grid. Taken from the front again and again this gives the fewest requests, and no more of them where
    some of the reads are left out.
    """
    stacked: set[Acquisition] = set()
    size = 0
    for count, (bands, grid) in enumerate(reads):
        if bands in stacked and grid == reads[0][1]:
            continue
        size += request_bytes(bands, grid)
        is_full = len(stacked) == MOST_STACKED or size > LARGEST_REQUEST
        if count and (is_full or grid != reads[0][1]):
            return count
        stacked.add(bands)
    return len(reads)


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
