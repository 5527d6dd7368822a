"""Remote files for GDAL, read by our own requests: signed, governed and of one version, which GDAL's are not."""

import io
from collections import OrderedDict
from typing import Any

from rasterio.abc import FileContainer

from pipeline.errors import SourceError
from pipeline.sources.ranges import NoRangesError, RemoteBytes

_BLOCK = 32 << 10
"""GDAL reads headers in pieces of a few bytes; they come in blocks of this size."""
_BLOCKS = 64


class GovernedFile(FileContainer):  # type: ignore[misc]
    """One remote file as rasterio's `opener` takes it; what goes wrong is kept, because GDAL cannot pass it on."""

    def __init__(self, remote: RemoteBytes) -> None:
        self._remote = remote
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.problem: SourceError | NoRangesError | None = None

    def open(self, path: str, mode: str = "r", **_: Any) -> "_Cursor":  # noqa: ARG002
        """Return the file, at its beginning."""
        return _Cursor(self)

    def isfile(self, path: str) -> bool:  # noqa: ARG002
        """Return True: it is one file."""
        return True

    def isdir(self, path: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def ls(self, path: str) -> list[str]:  # noqa: ARG002
        """Return nothing."""
        return []

    def mtime(self, path: str) -> int:  # noqa: ARG002
        """Return 0: it does not change while it is open."""
        return 0

    def rm(self, path: str) -> None:
        """Refuse."""
        raise OSError(f"{path} is not ours to remove")

    def size(self, path: str = "") -> int:  # noqa: ARG002
        """Return the length of the file [bytes]; 0 when it cannot be read."""
        self._block(0)
        return self._remote.size

    def read(self, first: int, count: int) -> bytes:
        """Return the bytes from `first` on, fewer where the file ends or a request failed."""
        if count > _BLOCK:
            return self._fetch(first, count)
        number, offset = divmod(first, _BLOCK)
        data = self._block(number)[offset : offset + count]
        if len(data) < count and (number + 1) * _BLOCK < self._remote.size:
            data += self._block(number + 1)[: count - len(data)]
        return data

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._blocks[number] = self._fetch(number * _BLOCK, _BLOCK)
        self._blocks.move_to_end(number)
        if len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[number]

    def _fetch(self, first: int, count: int) -> bytes:
        if self.problem is not None or count <= 0:
            return b""
        try:
            return self._remote.fetch(first, count)
        except (SourceError, NoRangesError) as err:
            self.problem = err
            return b""


class _Cursor(io.RawIOBase):
    def __init__(self, file: GovernedFile) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def read(self, count: int = -1) -> bytes:
        wanted = self._file.size() - self._at if count < 0 else count
        data = self._file.read(self._at, wanted)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size()}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
