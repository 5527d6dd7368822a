"""Searching STAC: one source for APIs and static catalogues, which differ only in how candidates are found."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import shapely
from pystac.errors import STACError
from pystac_client import Client
from pystac_client.exceptions import APIError
from shapely.geometry.base import BaseGeometry

from pipeline.errors import RecipeError, SourceError, TransientSourceError
from pipeline.records import Scene
from pipeline.sources.access import UNKNOWN
from pipeline.sources.contract import Query, Source
from pipeline.sources.items import scenes_from_items
from pipeline.sources.permits import Limit, Permits, ProcessPermits
from pipeline.sources.reaching import TIMEOUT_SECONDS
from pipeline.sources.signing import Signature
from pipeline.sources.stac_item import self_link
from pipeline.sources.transport import is_url, missing_collection, open_io, public_text, source_error

logger = logging.getLogger(__name__)

_PAGE = 100
"""Items per page: at 25 kB (Element 84) to 130 kB (CDSE) an item, an answer stays at a few MB."""

_LONGEST_DATATAKE = timedelta(hours=1)
"""`Scene.acquired` is the datatake's start; a catalogue's `datetime` may be the granule's, up to so much later."""

_MOST_VERTICES = 500

Candidates = Callable[[str, str, Query], Sequence[Scene]]
"""(root, collection, query) to scenes among which are all that the query asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StacSource:
    """A STAC catalogue: settings only, so that it can be sent to workers."""

    name: str
    """As the user gave it."""
    root: str
    """Absolute path or URL of the root document."""
    collections: Mapping[str, str]
    """Collection that each product is taken from."""
    candidates: Candidates
    """`api_scenes` or `static_scenes`."""
    signature: Signature
    options: Mapping[str, str]
    """GDAL options that the provider's files need."""
    limit: Limit | None = None
    """How much its servers may be asked for pixels, over all workers; None for files on disk."""
    permits: Permits | None = None
    """Shared with other processes; None for those of this process."""

    def search(self, query: Query) -> list[Scene]:
        """Return the scenes that touch the query, by (acquired, id); RecipeError for what catalogues do not have."""
        if query.own is None and query.product not in self.collections:
            raise RecipeError(f"{query.product} comes from --source earth-engine only: leave it out of modalities")
        collection = query.own.collection if query.own else self.collections[query.product]
        found = self.candidates(self.root, collection, query)
        scenes = list({scene.id: scene for scene in found if query.admits(scene.acquired)}.values())
        outlines = shapely.from_wkb(np.array([scene.footprint for scene in scenes], dtype=object))
        touching = shapely.intersects(outlines, query.footprint)
        kept = [scene for scene, touches in zip(scenes, touching, strict=True) if touches]
        logger.debug("%s: %d of %d scenes of %s kept", self.name, len(kept), len(found), collection)
        return sorted(kept, key=attrgetter("acquired", "id"))

    def sign(self, href: str) -> str:
        """Return `href` ready to be opened now."""
        return self.signature.sign(href)

    def renew(self, href: str, refused: str) -> bool:
        """Forget the signature of `refused`, which a server did not take; False where there is no other."""
        return self.signature.renew(href, refused)

    def catalogue(self) -> str:
        """Return path or URL of its root document."""
        return self.root

    def asking(self) -> Permits:
        """Return leave to ask its servers for pixels."""
        return self.permits or ProcessPermits(self.limit or UNKNOWN)

    @property
    def requests_per_thread(self) -> bool:
        """Return False: a thread asks for several tiles at once."""
        return False

    def with_permits(self, permits: Permits) -> "StacSource":
        """Return this source with permits that are shared by more than this process."""
        return replace(self, permits=permits)

    def gdal_env(self) -> Mapping[str, str]:
        """Return the GDAL options that the provider's files need."""
        return self.options


_: type[Source] = StacSource


def api_scenes(root: str, collection: str, query: Query) -> Sequence[Scene]:
    """Ask a STAC API for the scenes that may fit the query.

    Raises
    ------
    TransientSourceError
        The API is unreachable or throttles, after retries.
    SourceError
        It refuses the request, does not have the collection, or one of its items cannot be used.
    """
    subject = f"{public_text(root)}: searching {collection}"
    try:
        search = open_client(root).search(
            collections=[collection],
            intersects=searchable(query.footprint),
            datetime=_interval(query),
            limit=_PAGE,
        )
        items = list(search.items_as_dicts())
    except APIError as err:
        error = source_error(err, subject)
        if not isinstance(error, TransientSourceError):
            _require_collection(root, collection)
        raise error from err
    except (STACError, ValueError) as err:
        raise SourceError(f"{subject}: not a STAC answer: {public_text(err)}") from err
    if not items:
        _require_collection(root, collection)
    return scenes_from_items(((item, _place(item, root)) for item in items), query.product, query.own)


def _place(item: Mapping[str, Any], root: str) -> str:
    """Return where an item of the API at `root` lies: as it says itself, if that is on the API's host."""
    stated = self_link(item)
    return stated if is_url(stated) and urlsplit(stated).hostname == urlsplit(root).hostname else root


def open_client(root: str) -> Client:
    """Return a client of the API at `root` that retries, has a timeout, and may search."""
    # Client.open resets the timeout of the io that it is given to its own argument.
    client = Client.open(root, stac_io=open_io(root), timeout=TIMEOUT_SECONDS)
    client.add_conforms_to("ITEM_SEARCH")
    return client


def searchable(footprint: BaseGeometry) -> BaseGeometry:
    """Return an area that covers `footprint`, without overlaps and with few enough vertices to be sent."""
    merged = shapely.unary_union(footprint)
    if shapely.get_num_coordinates(merged) <= _MOST_VERTICES:
        return merged
    hulls = shapely.unary_union(shapely.convex_hull(shapely.get_parts(merged)))
    if shapely.get_num_coordinates(hulls) <= _MOST_VERTICES:
        return hulls
    return hulls.envelope


def _interval(query: Query) -> tuple[datetime, datetime] | None:
    if query.start is None or query.end is None:
        return None
    return query.start, query.end + _LONGEST_DATATAKE


def _require_collection(root: str, collection: str) -> None:
    there = _collection_ids(root)
    if there is not None and collection not in there:
        raise missing_collection(root, collection, there)


@lru_cache(maxsize=8)
def _collection_ids(root: str) -> tuple[str, ...] | None:
    """Return what an API says it has, or None when it cannot be asked."""
    try:
        pages = list(open_io(root).get_pages(f"{root.rstrip('/')}/collections"))
    except APIError as err:
        error = source_error(err, f"{public_text(root)}: listing collections")
        if isinstance(error, TransientSourceError):
            raise error from err
        return None
    except ValueError:
        return None
    return tuple(str(collection.get("id")) for page in pages for collection in page.get("collections", ()))
