"""What Xee asks for besides: lists, dictionaries and values of collections; `benchmarks/earth_engine.py` needs it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .algorithms import Catalogue, algorithm, mask_of, stated, update_mask
from .objects import Collection, Image


@algorithm("Collection.size")
def size(_: Catalogue, *, collection: Collection) -> int:
    return len(collection.items)


@algorithm("Collection.first")
def first(_: Catalogue, *, collection: Collection) -> Any:
    return collection.items[0]


@algorithm("Collection.toList")
def to_list(_: Catalogue, *, collection: Collection, count: int, offset: int = 0) -> list[Any]:
    return list(collection.items[offset : offset + count])


@algorithm("Collection.iterate")
def iterate(_: Catalogue, *, collection: Collection, function: Callable[[Any, Any], Any], first: Any) -> Any:
    value = first
    for item in collection.items:
        value = function(item, value)
    return value


@algorithm("Collection.reduceColumns")
def reduce_columns(_: Catalogue, *, collection: Collection, reducer: Any, selectors: list[str]) -> dict[str, Any]:
    def value(item: Any, name: str) -> Any:
        return item.id if name == "system:id" else stated(item, name)

    return {"list": [[value(item, name) for item in collection.items] for name in selectors]}


@algorithm("Reducer.toList", "Reducer.repeat")
def lists(_: Catalogue, **__: Any) -> str:
    return "list"


@algorithm("Element.toDictionary")
def to_dictionary(_: Catalogue, *, element: Any, **__: Any) -> dict[str, Any]:
    return dict(getattr(element, "properties", {}))


@algorithm("Dictionary.get")
def entry(_: Catalogue, *, dictionary: dict[str, Any], key: str, **__: Any) -> Any:
    return dictionary[key]


@algorithm("Image.bandNames")
def band_names(_: Catalogue, *, image: Image) -> list[str]:
    return list(image.bands)


@algorithm("List.slice")
def slice_of(_: Catalogue, *, list: list[Any], start: int, end: int | None = None, step: int = 1) -> Any:  # noqa: A002
    return list[start:end:step]


@algorithm("Image.mask")
def mask(catalogue: Catalogue, *, image: Image, mask: Image | None = None) -> Image:
    return mask_of(catalogue, image=image) if mask is None else update_mask(catalogue, image=image, mask=mask)


def as_value(value: Any) -> Any:
    """The answer to `value:compute` as JSON: of images their bands and what they state."""
    if isinstance(value, Image):
        kind = {"type": "PixelType", "precision": "int", "min": 0, "max": 65535}
        bands = [{"id": name, "data_type": kind, "crs": "EPSG:32633"} for name in value.bands]
        return {"type": "Image", "id": value.id, "bands": bands, "properties": dict(value.properties)}
    if isinstance(value, list | tuple):
        return [as_value(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
