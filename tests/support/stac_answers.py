"""What a STAC API answers over the items of a static catalogue: searches by GET and POST, with paging."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import shapely

_CONFORMS = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
)
MOST_PER_PAGE = 10
"""Fewer than clients ask for, so that every search has pages."""


class StacAnswers:
    """An API over the catalogue in a folder, whose files are served beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, base: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and document for a request below `/stac`; `query` is that of a GET, `body` that of a POST."""
        root = f"{base}/stac"
        match path.removeprefix("/stac").strip("/").split("/"):
            case [""]:
                return 200, _landing(root)
            case ["collections"]:
                return 200, {"collections": [_collection(name, root) for name in sorted(self._items)], "links": []}
            case ["collections", name] if name in self._items:
                return 200, _collection(name, root)
            case ["collections", name, "items", item] if item in self._items.get(name, {}):
                return 200, self._served(self._items[name][item], base)
            case ["search"]:
                return 200, self._search(base, _asked(query, body), is_post=bool(body))
        return 404, {"code": "NotFound", "description": "there is no such resource"}

    @cached_property
    def _items(self) -> dict[str, dict[str, Any]]:
        held: dict[str, dict[str, Any]] = {}
        for file in sorted(self._folder.glob("*/**/*.json")):
            document = json.loads(file.read_text(encoding="utf-8"))
            if document.get("type") == "Feature" and "assets" in document:
                document["_folder"] = file.parent.relative_to(self._folder).as_posix()
                held.setdefault(document["collection"], {})[document["id"]] = document
        return held

    def _served(self, item: Mapping[str, Any], base: str) -> dict[str, Any]:
        served = deepcopy({key: value for key, value in item.items() if key != "_folder"})
        for asset in served["assets"].values():
            if "://" not in asset["href"]:
                asset["href"] = f"{base}/{item['_folder']}/{asset['href'].removeprefix('./')}"
        own = f"{base}/stac/collections/{item['collection']}/items/{item['id']}"
        served["links"] = [{"rel": "self", "href": own, "type": "application/geo+json"}]
        return served

    def _search(self, base: str, asked: Mapping[str, Any], *, is_post: bool) -> dict[str, Any]:
        found = [
            item for name in asked.get("collections") or self._items for item in self._items.get(name, {}).values()
        ]
        found = [item for item in found if _touches(item, asked) and _is_within(item, str(asked.get("datetime", "")))]
        # Newest first, as most APIs do: who wants another order sorts.
        found.sort(key=lambda item: (str(item["properties"]["datetime"]), item["id"]), reverse=True)
        first, count = int(asked.get("token", 0)), min(int(asked.get("limit", 10)), MOST_PER_PAGE)
        links: list[dict[str, Any]] = []
        if first + count < len(found):
            links.append(_next_link(f"{base}/stac/search", {**asked, "token": str(first + count)}, is_post=is_post))
        page = [self._served(item, base) for item in found[first : first + count]]
        return {"type": "FeatureCollection", "features": page, "links": links, "numberMatched": len(found)}


def _landing(root: str) -> dict[str, Any]:
    links = [
        {"rel": "self", "href": root, "type": "application/json"},
        {"rel": "data", "href": f"{root}/collections", "type": "application/json"},
        {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "GET"},
        {"rel": "search", "href": f"{root}/search", "type": "application/geo+json", "method": "POST"},
    ]
    return {
        "type": "Catalog", "id": "loopback", "stac_version": "1.0.0", "description": "items of a folder",
        "conformsTo": list(_CONFORMS), "links": links,
    }  # fmt: skip


def _collection(name: str, root: str) -> dict[str, Any]:
    return {
        "type": "Collection", "id": name, "stac_version": "1.0.0", "description": name, "license": "proprietary",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "self", "href": f"{root}/collections/{name}"}],
    }  # fmt: skip


def _asked(query: str, body: bytes) -> dict[str, Any]:
    if body:
        document: dict[str, Any] = json.loads(body)
        return document
    asked: dict[str, Any] = {key: values[0] for key, values in parse_qs(query).items()}
    if "collections" in asked:
        asked["collections"] = asked["collections"].split(",")
    if "bbox" in asked:
        asked["bbox"] = [float(number) for number in asked["bbox"].split(",")]
    if "intersects" in asked:
        asked["intersects"] = json.loads(asked["intersects"])
    return asked


def _touches(item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    outline = shapely.geometry.shape(item["geometry"])
    if asked.get("intersects"):
        return bool(outline.intersects(shapely.geometry.shape(asked["intersects"])))
    if asked.get("bbox"):
        return bool(outline.intersects(shapely.box(*asked["bbox"])))
    return True


def _is_within(item: Mapping[str, Any], interval: str) -> bool:
    if not interval:
        return True
    first, _, last = interval.partition("/")
    moment = _moment(item["properties"]["datetime"])
    return (first in ("", "..") or _moment(first) <= moment) and (last in ("", "..") or moment <= _moment(last))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _next_link(search: str, asked: Mapping[str, Any], *, is_post: bool) -> dict[str, Any]:
    if is_post:
        return {"rel": "next", "href": search, "method": "POST", "body": dict(asked)}
    parts = {
        key: ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in asked.items()
    }
    query = "&".join(
        f"{key}={json.dumps(value) if isinstance(value, Mapping) else value}" for key, value in parts.items()
    )
    return {"rel": "next", "href": f"{search}?{query}", "method": "GET"}
