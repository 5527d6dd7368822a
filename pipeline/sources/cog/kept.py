"""Headers of remote files that this process has read, so that the next reader of a scene need not ask again.

Only of files whose server tells versions apart: every later range is asked for in the version of the header.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from pipeline.sources.cog.header import TiledImage


class KeptHeader(NamedTuple):
    """A header and the version of the file that it was read from."""

    image: TiledImage
    version: str
    """Strong entity tag, quotes included."""


@dataclass(slots=True)
class KeptHeaders:
    """The headers that were used last, by unsigned reference; for any number of threads."""

    capacity: int = 4096
    """A header of a Sentinel-2 band takes some 8 kB."""
    _headers: "OrderedDict[str, KeptHeader]" = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, href: str) -> KeptHeader | None:
        """Return the header of `href`, if it is here."""
        with self._lock:
            found = self._headers.get(href)
            if found is not None:
                self._headers.move_to_end(href)
            return found

    def put(self, href: str, image: TiledImage, version: str) -> None:
        """Keep the header of `href`; without a version it is not kept."""
        if not version:
            return
        with self._lock:
            self._headers[href] = KeptHeader(image, version)
            self._headers.move_to_end(href)
            while len(self._headers) > self.capacity:
                self._headers.popitem(last=False)

    def drop(self, href: str) -> None:
        """Forget one header."""
        with self._lock:
            self._headers.pop(href, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._headers.clear()


KEPT = KeptHeaders()
"""Those of this process."""
