"""What opening a file asks of its source: a signature now, a new one when it is refused, and leave to ask."""

import math
import re
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from pipeline.sources.permits import Limit, Permits, ProcessPermits

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


def permits_of(source: Signer) -> Permits:
    """Return leave to ask the servers of `source`."""
    return source.asking() if isinstance(source, PermittingSource) else ProcessPermits(UNKNOWN)


def renew(source: Signer, href: str, refused: str) -> bool:
    """Tell whether `source` can sign `href` anew, now that a server refused `refused`."""
    return isinstance(source, RenewingSigner) and source.renew(href, refused)


def public(text: str) -> str:
    """Return `text` without the query of any URL, whole or cut, in it: that is where signatures are."""
    return re.sub(r"\?[^\s'\",)]*", "", text)
