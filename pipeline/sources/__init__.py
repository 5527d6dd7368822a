"""The only code that talks to data providers: which scenes there are, and their pixels on a patch's grid."""

import difflib
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.errors import RecipeError, SourceError
from pipeline.records.recipe import Collections
from pipeline.sources.clusters import cluster_places
from pipeline.sources.contract import Query, Source
from pipeline.sources.earth_engine import NAME as EARTH_ENGINE
from pipeline.sources.earth_engine import open_earth_engine
from pipeline.sources.permits import Limit
from pipeline.sources.providers import DEFAULT_COLLECTIONS, PROVIDERS, Provider, provider_of_url
from pipeline.sources.stac import StacSource, api_scenes
from pipeline.sources.stac_item import links_of
from pipeline.sources.static import static_scenes
from pipeline.sources.transport import is_url, open_io, public_text, read_document

__all__ = ["PROVIDERS", "Query", "Source", "cluster_places", "open_source"]

FINDERS = {"api": api_scenes, "static": static_scenes}
"""How scenes are found, by what the root document of a catalogue says it is."""

_WORD = re.compile(r"^[A-Za-z0-9_-]+$")
_NAMES = (*PROVIDERS, EARTH_ENGINE)
_TAKES = f"--source takes a path or URL of a STAC catalogue or one of {', '.join(_NAMES)}"


def open_source(name_or_path: str, collections: Collections) -> Source:
    """Open a catalogue; a provider that is known is not contacted yet.

    Parameters
    ----------
    name_or_path
        Name of a provider, path of a static catalogue, or URL of a static catalogue or a STAC API.
    collections
        Collection of each product; null takes the provider's own.

    Raises
    ------
    RecipeError
        There is no such provider or catalogue, or Earth Engine is asked for without a project.
    TransientSourceError
        The server is unreachable or throttles.
    SourceError
        The server refuses.
    """
    if is_url(name_or_path) and "@" in urlsplit(name_or_path).netloc:
        raise RecipeError(
            "--source carries a user's name or password, which references to its files would carry on into tables: "
            "leave them out of the URL"
        )
    if name_or_path == EARTH_ENGINE:
        return open_earth_engine(collections)
    provider = PROVIDERS.get(name_or_path) or provider_of_url(name_or_path)
    if provider:
        return _source(name_or_path, "api", provider, collections)
    root = name_or_path if is_url(name_or_path) else _local_root(name_or_path)
    kind = _kind(_root_document(root), name_or_path)
    return _source(name_or_path, kind, Provider(url=root), collections)


def _source(name: str, kind: str, provider: Provider, collections: Collections) -> Source:
    for key in ("CLOUDS", "LULC"):
        if getattr(collections, key):
            raise RecipeError(f"collections.{key} is for --source {EARTH_ENGINE} only: set it to null")
    stated = {product: collection for product, collection in collections.model_dump().items() if collection}
    return StacSource(
        name=name,
        root=provider.url,
        collections={**DEFAULT_COLLECTIONS, **provider.collections, **stated},
        candidates=FINDERS[kind],
        signature=provider.signature,
        options=provider.options,
        limit=_limit(name, provider),
    )


def _limit(name: str, provider: Provider) -> Limit | None:
    """Return how much may be asked; a catalogue on disk is not asked, and every other one goes by its host."""
    if not is_url(provider.url):
        return None
    known = provider_of_url(provider.url)
    host = urlsplit(provider.url).hostname or name
    return Limit(name=name if known else host, at_once=provider.at_once, per_second=provider.per_second)


def _local_root(given: str) -> str:
    try:
        path = Path(unquote(urlsplit(given).path) if given.startswith("file://") else given).expanduser().absolute()
    except (ValueError, RuntimeError) as err:
        # Neither an address, nor below anybody's home.
        raise _no_catalogue(given) from err
    if path.is_dir():
        path = path / "catalog.json"
    if path.exists():
        return str(path)
    if _WORD.match(given):
        close = difflib.get_close_matches(given.lower(), _NAMES, n=1)
        raise RecipeError(f"unknown source {given}: {f'did you mean {close[0]}? ' if close else ''}{_TAKES}")
    raise _no_catalogue(given)


def _root_document(root: str) -> Mapping[str, Any]:
    subject = f"catalogue {public_text(root)}"
    try:
        return read_document(root, open_io(), subject=subject)
    except SourceError as err:
        if getattr(err.__cause__, "status_code", None) == HTTPStatus.NOT_FOUND:
            raise _no_catalogue(root) from err
        if err.__cause__ is None or isinstance(err.__cause__, ValueError):
            raise RecipeError(f"{err}; {_TAKES}") from err
        raise


def _no_catalogue(given: str) -> RecipeError:
    return RecipeError(f"catalogue {public_text(given)} does not exist; {_TAKES}")


def _kind(document: Mapping[str, Any], given: str) -> str:
    links = document.get("links")
    if "stac_version" not in document or not isinstance(links, list) or document.get("type") == "Feature":
        raise RecipeError(f"{public_text(given)} is not a STAC catalogue; {_TAKES}")
    conforms = document.get("conformsTo")
    is_api = any(link.get("rel") == "search" for link in links_of(document)) or "item-search" in str(conforms)
    return "api" if is_api else "static"
