"""What opening a file asks of its source: a signature now, a new one when it is refused, and leave to ask."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pipeline.sources.permits import Limit, Permits, ProcessPermits

if TYPE_CHECKING:
    from pipeline.sources.checking import Compared, ReadRange

UNKNOWN = Limit(name="files", at_once=64, per_second=math.inf)
"""What may be asked of servers about which nothing is known."""


class Signer(Protocol):
    """The part of a source that reading needs."""

    def sign(self, href: str) -> str:
        """Return `href` ready to be opened now."""

    def gdal_env(self) -> Mapping[str, str]:
        """Return GDAL options that the provider's files need."""


@runtime_checkable
class RenewingSigner(Protocol):
    """A source whose signatures run out."""

    def renew(self, href: str, refused: str) -> bool:
        """Forget the signature of `refused`, which a server did not take; False where there is no other."""


@runtime_checkable
class PermittingSource(Protocol):
    """A source that says how much its servers may be asked."""

    def asking(self) -> Permits:
        """Return leave to ask."""


@runtime_checkable
class CataloguedSource(Protocol):
    """A source whose files are named by a catalogue."""

    def catalogue(self) -> str:
        """Return path or URL of the catalogue."""


@runtime_checkable
class NotingSource(Protocol):
    """A source that takes down which requests failed."""

    def failed(self, problem: str) -> None:
        """Count a request that came to nothing; `problem` names no file and no secret."""


@runtime_checkable
class VouchedSource(Protocol):
    """A source that knows what its files must hold."""

    def is_vouched(self, href: str) -> bool:
        """Tell whether a checksum says what `href` must hold."""

    def compared(self, href: str, read: "ReadRange") -> "Compared | None":
        """Return what is known of `href` after all of it was read and compared, once; None where nothing vouches."""


def note_failure(source: Signer, problem: str) -> None:
    """Tell `source`, if it cares, that a request came to nothing."""
    if isinstance(source, NotingSource):
        source.failed(problem)


def is_vouched(source: Signer, href: str) -> bool:
    """Tell whether what `href` holds is to be compared with a checksum."""
    return isinstance(source, VouchedSource) and source.is_vouched(href)


def compared(source: Signer, href: str, read: "ReadRange") -> "Compared | None":
    """Return what `source` knows of the whole of `href`; see `VouchedSource.compared`."""
    return source.compared(href, read) if isinstance(source, VouchedSource) else None


def catalogue_of(source: Signer) -> str:
    """Return path or URL of the catalogue that names the files of `source`; empty where its caller does."""
    return source.catalogue() if isinstance(source, CataloguedSource) else ""


def permits_of(source: Signer) -> Permits:
    """Return leave to ask the servers of `source`."""
    return source.asking() if isinstance(source, PermittingSource) else ProcessPermits(UNKNOWN)


def renew(source: Signer, href: str, refused: str) -> bool:
    """Tell whether `source` can sign `href` anew, now that a server refused `refused`."""
    return isinstance(source, RenewingSigner) and source.renew(href, refused)


def public(text: str) -> str:
    """Return `text` without the query of any URL, whole or cut, in it: that is where signatures are."""
    return re.sub(r"\?[^\s'\",)]*", "", text)
