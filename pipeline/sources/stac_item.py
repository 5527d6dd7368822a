"""A STAC item as its provider wrote it: read only through this record, so that nothing else handles raw JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pystac

from pipeline.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class StacItem:
    """The parts of an item that scenes are made of."""

    id: str
    collection: str
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]
    geometry: Mapping[str, Any] | None
    bbox: Sequence[float] | None
    location: str
    """Where the item itself was read from; relative hrefs start here."""

    @property
    def label(self) -> str:
        """How error messages name the item."""
        return f"{self.collection}/{self.id}"

    def text(self, *names: str) -> str:
        """Return the first of the named properties that is stated, as text, or ''."""
        value = self.value(*names)
        return "" if value is None else str(value)

    def value(self, *names: str) -> Any:
        """Return the first of the named properties that is stated, or None."""
        return next((self.properties[n] for n in names if self.properties.get(n) is not None), None)

    def time(self, *names: str) -> datetime | None:
        """Return the first of the named properties that is stated as a UTC time.

        Raises
        ------
        SourceError
            It is not an ISO 8601 time.
        """
        text = self.text(*names)
        if not text:
            return None
        try:
            time = datetime.fromisoformat(text)
        except ValueError as err:
            raise SourceError(f"{self.label}: {text!r} is not a time") from err
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_item(document: Mapping[str, Any] | pystac.Item, location: str = "") -> StacItem:
    """Return the record of a STAC item.

    Parameters
    ----------
    document
        The item as parsed JSON, or as pystac holds it.
    location
        Path or URL that the item was read from; its own `self` link when empty.

    Raises
    ------
    SourceError
        It is not a STAC item.
    """
    if isinstance(document, pystac.Item):
        location = location or document.get_self_href() or ""
        document = document.to_dict(include_self_link=False, transform_hrefs=False)
    properties, assets = document.get("properties"), document.get("assets")
    if not (document.get("id") and isinstance(properties, Mapping) and isinstance(assets, Mapping)):
        raise SourceError(f"{location or document.get('id') or 'a document'} is not a STAC item")
    return StacItem(
        id=str(document["id"]),
        collection=str(document.get("collection") or "items"),
        properties=properties,
        assets={key: asset for key, asset in assets.items() if isinstance(asset, Mapping) and asset.get("href")},
        geometry=document.get("geometry"),
        bbox=document.get("bbox"),
        location=location or self_link(document),
    )


def self_link(document: Mapping[str, Any]) -> str:
    """Return where a document says that it lies, or an empty string."""
    stated = (link.get("href") for link in links_of(document) if link.get("rel") == "self")
    return next((str(href) for href in stated if href), "")


def links_of(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the links of a STAC document; what is no link is passed over."""
    links = document.get("links")
    return [link for link in links if isinstance(link, Mapping)] if isinstance(links, list) else []
