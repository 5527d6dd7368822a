"""What reads pixels: the contract, and the reader that the rest of the package opens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.records import PatchGrid, Resampling
from pipeline.sources.cog import CogReader
from pipeline.sources.window import Signer, Wanted, open_reference


class WindowReader(Protocol):
    """Reads windows of rasters straight onto a patch's grid; see `RasterReader` for values and errors."""

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`, (size, size) in the file's dtype."""

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several files as `read` does, together."""

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity, float32 with NaN for no data."""


@contextmanager
def open_reader(source: Signer) -> Iterator[WindowReader]:
    """Yield a reader for one thread: fast for plain tiled GeoTIFFs, GDAL for everything else."""
    with open_reference(source) as reference:
        reader = CogReader(source, reference)
        try:
            yield reader
        finally:
            reader.close()
