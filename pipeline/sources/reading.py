"""What reads pixels: the contract, and the reader that the rest of the package opens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.records import AssetRef, PatchGrid, Resampling
from pipeline.sources.access import Signer
from pipeline.sources.cog import CogReader
from pipeline.sources.window import Placement, Wanted, open_reference

Together = Literal["scene", "patch"]
"""What is best read one after another: the patches of a scene, or the dates of a patch."""


class WindowReader(Protocol):
    """Reads windows of rasters straight onto a patch's grid; see `RasterReader` for values and errors."""

    def read(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[Any]:
        """Read the first band of `href` on `grid`, (size, size) in the file's dtype."""

    def read_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[Any]]:
        """Read several files as `read` does, together; integers may come masked where 0 does not mean no data."""

    def read_ahead(self, reads: Iterable[tuple[Sequence[Wanted], PatchGrid]]) -> None:
        """Read together, where that is cheaper, what will be asked for next in this order; errors as `read`.

        What is wrong with a single file is said when it is asked for.
        """

    @property
    def left_to_reference(self) -> Mapping[str, int]:
        """Windows that the fast reader left to GDAL so far, by reason."""

    def read_measured(self, href: str, grid: PatchGrid, *, resampling: Resampling) -> NDArray[np.float32]:
        """Read a physical quantity, float32 with NaN for no data."""

    def read_measured_bands(self, wanted: Sequence[Wanted], grid: PatchGrid) -> list[NDArray[np.float32]]:
        """Read several bands of a physical quantity as `read_measured` does, together."""

    def joined(self, assets: Sequence[AssetRef]) -> list[AssetRef]:
        """Return the scenes of one acquisition as they are best read: one by one, or as one."""

    def is_decibel(self, href: str) -> bool:
        """Tell whether the numbers of a radar band are decibels already."""


@runtime_checkable
class FileReader(Protocol):
    """A reader of files, each of which lies somewhere."""

    def placement(self, href: str) -> tuple[int, Placement]:
        """Return a file's EPSG code (0: none) and where its pixels lie; errors as `WindowReader.read`."""


@runtime_checkable
class ReaderSource(Protocol):
    """A source whose pixels are not in files."""

    @property
    def together(self) -> Together:
        """What of a shard one reader is asked for, and announced together."""

    def open_reader(self) -> AbstractContextManager[WindowReader]:
        """Yield what reads its pixels."""


def together_of(source: Signer) -> Together:
    """Return what is read together: of files the patches of a scene, as they have tiles in common."""
    return source.together if isinstance(source, ReaderSource) else "scene"


@contextmanager
def open_reader(source: Signer) -> Iterator[WindowReader]:
    """Yield a reader for one thread: the source's own, or fast for plain tiled GeoTIFFs and GDAL for the rest."""
    if isinstance(source, ReaderSource):
        with source.open_reader() as own:
            yield own
        return
    with open_reference(source) as reference:
        reader = CogReader(source, reference)
        try:
            yield reader
        finally:
            reader.close()
