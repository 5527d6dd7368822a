"""The lattice law against every published patch of Sen12Landslides: number and place of each imply the other."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from support.published import SEN12LANDSLIDES_LATTICE

from pipeline.grid import Cell, to_lonlat
from pipeline.recipes import load_recipe
from pipeline.records import Event
from pipeline.sampling import Inventory, annotated_samples
from pipeline.sampling.lattice import Extent

RECIPE = load_recipe("landslides")
STEP = 1280
DAY = datetime(2020, 1, 1, tzinfo=UTC)

"""EPSG, rows and offset of each region: id = rows · ix + iy + offset."""

WITHOUT_PLACES = {
    "lanaodelnorte": (123.0, 7.5, 125.0, 8.7),
    "nepal": (80.0, 26.3, 88.3, 30.5),
    "usa_alaska": (-150.0, 58.0, -135.0, 63.0),
}
"""Regions whose places are not published with the list: west, south, east, north [degrees] of where they are."""


@pytest.fixture(scope="module")
def places(shared: Path) -> dict[str, list[tuple[int, int, int]]]:
    """Number, easting and northing of the centre [m, whole] of every published patch, by region."""
    folder = shared / "golden/sen12landslides/tasks/S12LS-LD/harmonized/s2"
    found: dict[str, list[Any]] = defaultdict(list)
    for feature in json.loads((folder / "patch_locations.geojson").read_text())["features"]:
        region, _, number = feature["properties"]["patch_id"].rpartition("_")
        found[region].append((int(number), feature["properties"]["lon"], feature["properties"]["lat"]))
    projected = {}
    for region, patches in found.items():
        number, lon, lat = zip(*patches, strict=True)
        east, north = Transformer.from_crs(4326, SEN12LANDSLIDES_LATTICE[region][0], always_xy=True).transform(lon, lat)
        assert np.abs(np.array([east, north]) - np.round([east, north])).max() < 1e-3
        projected[region] = list(zip(number, np.round(east).astype(int), np.round(north).astype(int), strict=True))
    return projected


def extent_of(region: str, rows_seen: tuple[int, int], columns_seen: tuple[int, int]) -> Extent:
    """The extent that the law's offset allows for the rows that patches lie in."""
    _, rows, offset = SEN12LANDSLIDES_LATTICE[region]
    bottom = next(iy for iy in range(rows_seen[1] - rows + 1, rows_seen[0] + 1) if (iy + offset) % rows == 0)
    left = -(offset + bottom) // rows
    return Extent(origin=Cell(left, bottom), columns=columns_seen[1] - left + 1, rows=rows)


def published_extent(region: str, patches: list[tuple[int, int, int]]) -> Extent:
    columns, rows = ([(one[axis] - STEP // 2) // STEP for one in patches] for axis in (1, 2))
    return extent_of(region, (min(rows), max(rows)), (min(columns), max(columns)))


PUBLISHED = sorted(set(SEN12LANDSLIDES_LATTICE) - set(WITHOUT_PLACES))


def test_every_published_region_is_checked(places) -> None:
    assert sorted(places) == PUBLISHED
    assert len(SEN12LANDSLIDES_LATTICE) == 16
    assert sum(map(len, places.values())) == 4988


@pytest.mark.parametrize("region", PUBLISHED)
def test_numbers_give_the_published_centres_to_the_metre_and_centres_the_numbers(region, places) -> None:
    _, rows, offset = SEN12LANDSLIDES_LATTICE[region]
    extent = published_extent(region, places[region])
    number, east, north = (np.array(axis, np.int64) for axis in zip(*places[region], strict=True))
    ix, iy = extent.cells(number)
    assert (ix * STEP + STEP // 2 == east).all()
    assert (iy * STEP + STEP // 2 == north).all()
    assert extent.holds(ix, iy).all()
    assert (extent.ids((east - STEP // 2) // STEP, (north - STEP // 2) // STEP) == number).all()
    assert (rows * ix + iy + offset == number).all()


@pytest.mark.parametrize("region", PUBLISHED)
def test_an_inventory_with_a_slide_in_each_published_patch_gives_the_published_ids(region, places) -> None:
    epsg = SEN12LANDSLIDES_LATTICE[region][0]
    extent = published_extent(region, places[region])
    corner = np.array([[-20.0, -20.0], [20.0, -20.0], [20.0, 20.0], [-20.0, 20.0]])
    rings = np.array([(east, north) for _, east, north in places[region]])[:, None] + corner
    lon, lat = to_lonlat(easting=rings[..., 0], northing=rings[..., 1], epsg=epsg)
    from_events = tuple(
        Event(id=f"{index:04}", date=DAY, wkb=wkb)
        for index, wkb in enumerate(shapely.to_wkb(shapely.polygons(np.stack([lon, lat], axis=-1))))
    )
    left, bottom = extent.origin.ix * STEP, extent.origin.iy * STEP
    bounds = (left, bottom, left + extent.columns * STEP, bottom + extent.rows * STEP)
    changes = {"crs": f"EPSG:{epsg}", "extent": bounds}
    recipe = RECIPE.model_copy(update={"places": RECIPE.places.model_copy(update=changes)})
    samples = annotated_samples(Inventory(name=region, events=from_events), recipe)
    assert {sample.id for sample in samples} == {f"{region}_{number}" for number, _, _ in places[region]}
    centres = {sample.id: (sample.grid.left + 640.0, sample.grid.top - 640.0) for sample in samples}
    assert centres == {f"{region}_{number}": (east, north) for number, east, north in places[region]}


@pytest.mark.parametrize("region", WITHOUT_PLACES)
def test_numbers_of_regions_without_places_lie_where_the_region_is(region, shared: Path) -> None:
    epsg, rows, offset = SEN12LANDSLIDES_LATTICE[region]
    west, south, east, north = WITHOUT_PLACES[region]
    splits = json.loads((shared / "golden/sen12landslides/tasks/S12LS-AD/raw/s1dsc/splits.json").read_text())
    numbers = np.array(sorted(numbers_in(splits, region)))
    assert numbers.size >= 14
    places = []
    forward = Transformer.from_crs(4326, epsg, always_xy=True)
    middle = int(forward.transform((west + east) / 2, (south + north) / 2)[1] // STEP)
    for bottom in range(middle - 400, middle + 400):
        if (bottom + offset) % rows == 0:
            extent = Extent(origin=Cell(-(offset + bottom) // rows, bottom), columns=10_000, rows=rows)
            ix, iy = extent.cells(numbers)
            assert (extent.ids(ix, iy) == numbers).all()
            lon, lat = to_lonlat(easting=(ix + 0.5) * STEP, northing=(iy + 0.5) * STEP, epsg=epsg)
            places.append(bool(((lon > west) & (lon < east) & (lat > south) & (lat < north)).all()))
    assert any(places)


def numbers_in(splits: dict[str, list[dict[str, Any]]], region: str) -> set[int]:
    names = (patch["id"].rpartition("_") for patches in splits.values() for patch in patches)
    return {int(number) for name, _, number in names if name == region}
