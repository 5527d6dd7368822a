"""A static STAC catalogue, on disk or behind HTTP: read by following its links, once per process."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pystac.utils import make_absolute_href
from pystac_client.stac_api_io import StacApiIO

from pipeline.errors import SourceError
from pipeline.records import OwnModality, Product, Scene
from pipeline.sources.contract import Query
from pipeline.sources.items import scenes_from_items
from pipeline.sources.links import require_document
from pipeline.sources.stac_item import links_of
from pipeline.sources.transport import is_url, missing_collection, open_io, public_text, read_document


def static_scenes(root: str, collection: str, query: Query) -> Sequence[Scene]:
    """Return every scene of `collection`; what the query leaves out is dropped by the caller.

    Raises
    ------
    TransientSourceError
        A server of the catalogue is unreachable or throttles.
    SourceError
        The collection is not in the catalogue, a document cannot be read, or an item cannot be used.
    """
    return _all_scenes(root, _written(root), collection, query.product, query.own)


@lru_cache(maxsize=8)
def _all_scenes(
    root: str,
    written: int,  # noqa: ARG001
    collection: str,
    product: Product,
    own: OwnModality | None,
) -> tuple[Scene, ...]:
    # `written` gives a catalogue that was made anew during this process a key of its own.
    io = open_io()
    scenes: list[Scene] = []
    there: set[str] = set()
    for href, document, owner in _walk(root, io):
        there |= {owner} - {""}
        if owner == collection:
            items = _links(href, document, "item")
            scenes += scenes_from_items((_item(item_href, collection, io) for item_href in items), product, own)
    if collection not in there:
        raise missing_collection(root, collection, there)
    return tuple(scenes)


def _item(href: str, collection: str, io: StacApiIO) -> tuple[Mapping[str, Any], str]:
    document = read_document(href, io, subject=f"item {public_text(href)}")
    return {**document, "collection": document.get("collection") or collection}, href


def _walk(root: str, io: StacApiIO) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield every catalogue and collection once, with the id of the collection that it belongs to."""
    pending, visited = [(root, "")], {root}
    while pending:
        href, parent = pending.pop()
        document = read_document(href, io, subject=f"catalogue {public_text(href)}")
        owner = str(document.get("id")) if _is_collection(document) else parent
        yield href, document, owner
        children = [child for child in _links(href, document, "child") if child not in visited]
        visited.update(children)
        pending += [(child, owner) for child in children]


def _is_collection(document: Mapping[str, Any]) -> bool:
    # Before STAC 1.0 collections had no `type`, but always an extent.
    return document.get("type") == "Collection" or "extent" in document


def _links(href: str, document: Mapping[str, Any], relation: str) -> list[str]:
    return [
        require_document(_absolute(str(link["href"]), href), href)
        for link in links_of(document)
        if link.get("rel") == relation and link.get("href")
    ]


def _absolute(href: str, owner: str) -> str:
    try:
        return make_absolute_href(href, owner)
    except ValueError as err:
        raise SourceError(f"catalogue {public_text(owner)} links to {public_text(href)}, which is no address") from err


def _written(root: str) -> int:
    try:
        return 0 if is_url(root) else Path(root).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
