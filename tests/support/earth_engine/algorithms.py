"""The algorithms that the package's expressions use, by the names that the client sends.

Assumed, and to be proved with an account by the contract test: nearest takes the pixel that a centre lies in; masked
pixels come as 0; `reduceRegions` weighs whole pixels by 1; bilinear is GDAL's.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from affine import Affine

from .objects import Band, Collection, Feature, Grid, Image, Pixels, project

WORLD = "EPSG:4326"


class EvaluationError(Exception):
    """What the server refuses, with its HTTP status."""

    def __init__(self, message: str, code: int = 400, status: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.code = code
        self.status = status


Catalogue = dict[str, list[Image]]
Algorithm = Callable[..., Any]
ALGORITHMS: dict[str, Algorithm] = {}
"""Called with the catalogue and the arguments of the expression by name."""


def algorithm(*names: str) -> Callable[[Algorithm], Algorithm]:
    def register(function: Algorithm) -> Algorithm:
        ALGORITHMS.update(dict.fromkeys(names, function))
        return function

    return register


def absent(kind: str, asset: str) -> EvaluationError:
    where = "(does not exist or caller does not have access)."
    return EvaluationError(f"{kind}.load: {kind} asset '{asset}' not found {where}")


# Collections


@algorithm("ImageCollection.load")
def load_collection(catalogue: Catalogue, *, id: str, version: Any = None) -> Collection:  # noqa: A002
    if id not in catalogue:
        raise absent("ImageCollection", id)
    return Collection(tuple(catalogue[id]))


@algorithm("Image.load")
def load_image(catalogue: Catalogue, *, id: str, version: Any = None) -> Image:  # noqa: A002
    found = [image for image in catalogue.get(id.rpartition("/")[0], ()) if image.id == id]
    if not found:
        raise absent("Image", id)
    return found[0]


@algorithm("Collection.filter")
def filter_collection(_: Catalogue, *, collection: Collection, filter: Any) -> Collection:  # noqa: A002
    return Collection(tuple(item for item in collection.items if filter(item)))


@algorithm("Collection.map")
def map_collection(_: Catalogue, *, collection: Collection, baseAlgorithm: Any, dropNulls: bool = False) -> Collection:  # noqa: N803
    return Collection(tuple(baseAlgorithm(item) for item in collection.items))


@algorithm("Collection.flatten")
def flatten(_: Catalogue, *, collection: Collection) -> Collection:
    return Collection(tuple(inner for item in collection.items for inner in item.items))


@algorithm("Collection")
def features_of(_: Catalogue, *, features: list[Any]) -> Collection:
    return Collection(tuple(features))


@algorithm("ImageCollection.fromImages")
def images_of(_: Catalogue, *, images: list[Any]) -> Collection:
    return Collection(tuple(images))


# Filters


def stated(item: Any, name: str) -> Any:
    return item.geometry if name in (".all", ".geo") else item.properties.get(name)


@algorithm("Filter.intersects")
def intersects(_: Catalogue, *, leftField: str, rightValue: Any) -> Any:  # noqa: N803
    # The client wraps the area of filterBounds in a feature.
    area = rightValue.geometry if isinstance(rightValue, Feature) else rightValue
    return lambda item: bool(shapely.intersects(stated(item, leftField), area))


@algorithm("Filter.dateRangeContains")
def within(_: Catalogue, *, leftValue: tuple[float, float], rightField: str) -> Any:  # noqa: N803
    return lambda item: leftValue[0] <= stated(item, rightField) < leftValue[1]


@algorithm("Filter.equals")
def equals(_: Catalogue, *, leftField: str, rightValue: Any) -> Any:  # noqa: N803
    return lambda item: stated(item, leftField) == rightValue


@algorithm("DateRange")
def date_range(_: Catalogue, *, start: float, end: float, timeZone: Any = None) -> tuple[float, float]:  # noqa: N803
    return float(start), float(end)


# Geometry, features and properties


@algorithm("Projection")
def projection(_: Catalogue, *, crs: str) -> str:
    return crs


@algorithm("GeometryConstructors.Polygon")
def polygon(_: Catalogue, *, coordinates: list[Any], crs: str = WORLD, **__: Any) -> shapely.Geometry:
    return project(shapely.Polygon(coordinates[0], coordinates[1:]), crs, WORLD)


@algorithm("GeometryConstructors.MultiPolygon")
def multi_polygon(_: Catalogue, *, coordinates: list[Any], crs: str = WORLD, **__: Any) -> shapely.Geometry:
    parts = shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in coordinates])
    return project(parts, crs, WORLD)


@algorithm("GeometryConstructors.Rectangle")
def rectangle(_: Catalogue, *, coordinates: list[float], crs: str = WORLD, **__: Any) -> shapely.Geometry:
    return project(shapely.box(*np.ravel(coordinates)), crs, WORLD)


@algorithm("Image.geometry")
def geometry_of(_: Catalogue, *, feature: Image, **__: Any) -> Any:
    return feature.geometry


@algorithm("Feature")
def make_feature(_: Catalogue, *, geometry: Any, metadata: dict[str, Any] | None = None) -> Feature:
    return Feature(geometry, metadata or {})


@algorithm("Element.get")
def get_property(_: Catalogue, *, object: Any, property: str) -> Any:  # noqa: A002
    return stated(object, property)


@algorithm("Element.set")
def set_property(_: Catalogue, *, object: Any, key: str, value: Any) -> Any:  # noqa: A002
    return object.having(properties={**object.properties, key: value})


@algorithm("Element.copyProperties")
def copy_properties(_: Catalogue, *, destination: Any, source: Any, properties: list[str]) -> Any:
    copied = {name: source.properties[name] for name in properties if name in source.properties}
    return destination.having(properties={**destination.properties, **copied})


# Images


@algorithm("Image.constant")
def constant(_: Catalogue, *, value: float) -> Image:
    def pixels(grid: Grid) -> Pixels:
        values = np.full(grid.shape, value)
        if isinstance(value, int) and value >= 0:
            values = values.astype(np.min_scalar_type(value))
        return values, np.ones(grid.shape, bool)

    return Image({"constant": Band(pixels)})


@algorithm("Image.select")
def select(_: Catalogue, *, input: Image, bandSelectors: list[str], newNames: list[str] | None = None) -> Image:  # noqa: A002, N803
    for name in bandSelectors:
        if name not in input.bands:
            known = ", ".join(input.bands)
            raise EvaluationError(f"Image.select: Band pattern '{name}' did not match any bands. Available: [{known}]")
    named = zip(newNames or bandSelectors, bandSelectors, strict=True)
    return input.having(bands={new: input.bands[name] for new, name in named})


@algorithm("Image.rename")
def rename(_: Catalogue, *, input: Image, names: list[str]) -> Image:  # noqa: A002
    return input.having(bands=dict(zip(names, input.bands.values(), strict=True)))


@algorithm("Image.addBands")
def add_bands(_: Catalogue, *, dstImg: Image, srcImg: Image, names: Any = None, overwrite: bool = False) -> Image:  # noqa: N803
    bands = dict(dstImg.bands)
    for name, band in srcImg.bands.items():
        if names is not None and name not in names:
            continue
        free, number = name, 1
        while free in bands:
            free, number = f"{name}_{number}", number + 1
        bands[free] = band
    return dstImg.having(bands=bands)


@algorithm("Image.resample")
def resample(_: Catalogue, *, image: Image, mode: str = "bilinear") -> Image:
    return image.having(bands={n: b.resampled(mode) if b.resampled else b for n, b in image.bands.items()})


@algorithm("Image.mask")
def mask_of(_: Catalogue, *, image: Image) -> Image:
    def masked(band: Band) -> Band:
        return Band(lambda grid: (band.pixels(grid)[1].astype(np.float32), np.ones(grid.shape, bool)))

    return image.having(bands={name: masked(band) for name, band in image.bands.items()})


@algorithm("Image.updateMask")
def update_mask(_: Catalogue, *, image: Image, mask: Image) -> Image:
    (seen,) = mask.bands.values()

    def masked(band: Band) -> Band:
        def pixels(grid: Grid) -> Pixels:
            (values, valid), (shown, known) = band.pixels(grid), seen.pixels(grid)
            return values, valid & known & (shown != 0)

        return Band(pixels)

    return image.having(bands={name: masked(band) for name, band in image.bands.items()})


@algorithm("Image.unmask")
def unmask(_: Catalogue, *, input: Image, value: Image, sameFootprint: bool = True) -> Image:  # noqa: A002, N803
    if sameFootprint:
        raise EvaluationError("emulator: unmask within the footprint only", 501, "UNIMPLEMENTED")
    (fill,) = value.bands.values()

    def filled(band: Band) -> Band:
        def pixels(grid: Grid) -> Pixels:
            (values, valid), (other, _) = band.pixels(grid), fill.pixels(grid)
            return np.where(valid, values, other).astype(np.result_type(values, other)), np.ones(grid.shape, bool)

        return Band(pixels)

    return input.having(bands={name: filled(band) for name, band in input.bands.items()})


@algorithm("ImageCollection.mosaic")
def mosaic(_: Catalogue, *, collection: Collection) -> Image:
    def stacked(name: str) -> Band:
        def pixels(grid: Grid) -> Pixels:
            values, valid = collection.items[0].bands[name].pixels(grid)
            for image in collection.items[1:]:
                above, shown = image.bands[name].pixels(grid)
                values, valid = np.where(shown, above, values), valid | shown
            return values, valid

        return Band(pixels)

    return Image({name: stacked(name) for name in collection.items[0].bands})


@algorithm("Image.linkCollection")
def link_collection(
    _: Catalogue,
    *,
    input: Image,  # noqa: A002
    imageCollection: Collection,  # noqa: N803
    linkedBands: Any = None,  # noqa: N803
    linkedProperties: Any = None,  # noqa: N803
    matchPropertyName: str = "system:index",  # noqa: N803
) -> Image:
    wanted = stated(input, matchPropertyName)
    linked = next(image for image in imageCollection.items if stated(image, matchPropertyName) == wanted)
    names = [linkedBands] if isinstance(linkedBands, str) else linkedBands
    return input.having(bands={**input.bands, **{name: linked.bands[name] for name in names}})


def _pixelwise(combine: Callable[[Any, Any], Any]) -> Algorithm:
    def run(_: Catalogue, *, image1: Image, image2: Image) -> Image:
        (other,) = image2.bands.values()

        def combined(band: Band) -> Band:
            def pixels(grid: Grid) -> Pixels:
                (left, valid), (right, known) = band.pixels(grid), other.pixels(grid)
                return combine(left, right), valid & known

            return Band(pixels)

        return image1.having(bands={name: combined(band) for name, band in image1.bands.items()})

    return run


def _compared(compare: Callable[[Any, Any], Any]) -> Algorithm:
    return _pixelwise(lambda left, right: compare(left, right).astype(np.uint8))


def _wide(compute: Callable[[Any, Any], Any]) -> Algorithm:
    return _pixelwise(lambda left, right: compute(left.astype(np.float64), right))


for _name, _compare in {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
    "or": np.logical_or, "and": np.logical_and,
}.items():  # fmt: skip
    ALGORITHMS[f"Image.{_name}"] = _compared(_compare)
for _name, _compute in {"add": operator.add, "multiply": operator.mul, "divide": operator.truediv}.items():
    ALGORITHMS[f"Image.{_name}"] = _wide(_compute)


@algorithm("Image.not")
def negated(_: Catalogue, *, value: Image) -> Image:
    def inverted(band: Band) -> Band:
        def pixels(grid: Grid) -> Pixels:
            values, valid = band.pixels(grid)
            return (values == 0).astype(np.uint8), valid

        return Band(pixels)

    return value.having(bands={name: inverted(band) for name, band in value.bands.items()})


def _cast(dtype: type[np.generic]) -> Algorithm:
    def run(_: Catalogue, *, value: Image) -> Image:
        def converted(band: Band) -> Band:
            def pixels(grid: Grid) -> Pixels:
                values, valid = band.pixels(grid)
                if np.issubdtype(dtype, np.integer):
                    limits = np.iinfo(dtype)
                    values = np.clip(values, limits.min, limits.max)
                return values.astype(dtype), valid

            return Band(pixels)

        return value.having(bands={name: converted(band) for name, band in value.bands.items()})

    return run


ALGORITHMS |= {"Image.toUint8": _cast(np.uint8), "Image.toUint16": _cast(np.uint16), "Image.toFloat": _cast(np.float32)}


# Reducers


@algorithm("Reducer.mean")
def mean(_: Catalogue) -> str:
    return "mean"


@algorithm("Image.reduceRegions")
def reduce_regions(
    _: Catalogue,
    *,
    image: Image,
    collection: Collection,
    reducer: str,
    crs: str,
    crsTransform: list[float],  # noqa: N803
    **__: Any,
) -> Collection:
    transform = Affine(*crsTransform)
    rows = []
    for feature in collection.items:
        region = project(feature.geometry, WORLD, crs)
        grid, inside = _region_grid(region, crs, transform)
        means = {}
        for name, band in image.bands.items():
            values, valid = band.pixels(grid)
            chosen = values[inside & valid]
            means[name if len(image.bands) > 1 else reducer] = float(chosen.mean()) if chosen.size else None
        rows.append(feature.having(properties={**feature.properties, **means}))
    return Collection(tuple(rows))


def _region_grid(region: shapely.Geometry, crs: str, transform: Affine) -> tuple[Grid, Any]:
    left, bottom, right, top = region.bounds
    (c0, r0), (c1, r1) = ~transform @ (left, top), ~transform @ (right, bottom)
    first, last = np.floor([c0 + 1e-3, r0 + 1e-3]), np.ceil([c1 - 1e-3, r1 - 1e-3])
    width, height = (last - first).astype(int).tolist()
    grid = Grid(crs, transform @ Affine.translation(*first), width, height)
    return grid, shapely.contains_xy(region, *grid.centres(crs))
