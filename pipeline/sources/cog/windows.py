"""Which part of a tiled image a patch takes its pixels from, and which tiles hold it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.records import PatchGrid, Resampling
from pipeline.sources.cog.header import TiledImage
from pipeline.sources.window import Placement, is_on_grid, pixel_indices, pixel_positions

Span = tuple[int, int]
"""First and stop."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TileWindow:
    """The pixels of an image that a patch takes, row by row and column by column."""

    rows: NDArray[np.int64]
    """Row of the image for each row of the patch that lies inside it, rising."""
    columns: NDArray[np.int64]
    inside_rows: NDArray[np.int64]
    """Rows of the patch that lie inside the image."""
    inside_columns: NDArray[np.int64]

    @property
    def is_empty(self) -> bool:
        """True when the patch lies outside the image."""
        return not self.rows.size or not self.columns.size

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image from the first to the last that is taken."""
        return int(self.rows[-1] - self.rows[0]) + 1, int(self.columns[-1] - self.columns[0]) + 1

    def tiles(self, image: TiledImage) -> list[int]:
        """Return the numbers of the tiles that hold the window."""
        if self.is_empty:
            return []
        down = range(int(self.rows[0]) // image.tile_height, int(self.rows[-1]) // image.tile_height + 1)
        along = range(int(self.columns[0]) // image.tile_width, int(self.columns[-1]) // image.tile_width + 1)
        return [row * image.across + column for row in down for column in along]

    def part(self, number: int, image: TiledImage, block: NDArray[Any]) -> tuple[Span, Span, NDArray[Any]]:
        """Return rows and columns of a tile that lie in the window, and their place in `block`."""
        rows, down = _overlap(number // image.across, image.tile_height, int(self.rows[0]), block.shape[0])
        columns, along = _overlap(number % image.across, image.tile_width, int(self.columns[0]), block.shape[1])
        return rows, columns, block[down[0] : down[1], along[0] : along[1]]

    def spread(self, block: NDArray[Any], out: NDArray[Any]) -> None:
        """Put the window's pixels where the patch wants them; one of the image may go to several of the patch."""
        # What lies inside is one rectangle of the patch: positions rise along it.
        first, left = int(self.inside_rows[0]), int(self.inside_columns[0])
        part = out[first : first + self.rows.size, left : left + self.columns.size]
        if block.shape == part.shape:
            part[...] = block
        else:
            # Columns first: what is then repeated are whole rows.
            part[...] = block.take(self.columns - self.columns[0], axis=1).take(self.rows - self.rows[0], axis=0)


def window_of(image: TiledImage, grid: PatchGrid, resampling: Resampling) -> TileWindow | None:
    """Return what `grid` takes from `image`; None when that needs a warp."""
    if image.epsg != grid.epsg:
        return None
    placement = Placement(image.left, image.top, image.pixel_width, -image.pixel_height)
    columns, rows = pixel_positions(placement, grid)
    if resampling != "nearest" and not (is_on_grid(columns) and is_on_grid(rows)):
        return None
    down, along = pixel_indices(rows), pixel_indices(columns)
    inside_rows = np.flatnonzero((down >= 0) & (down < image.height))
    inside_columns = np.flatnonzero((along >= 0) & (along < image.width))
    return TileWindow(
        rows=down[inside_rows], columns=along[inside_columns], inside_rows=inside_rows, inside_columns=inside_columns
    )


def _overlap(place: int, size: int, first: int, count: int) -> tuple[Span, Span]:
    """Return which part of a tile, counted in itself, lies in a block, and where in the block it goes."""
    start = place * size
    inner = max(first - start, 0), min(first + count - start, size)
    return inner, (start + inner[0] - first, start + inner[1] - first)
