"""Small records made by hand: a place in Slovenia, scenes over it, and a recipe; every field can be changed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import shapely

from pipeline import grid as grids
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES, AssetRef, Choice, PatchGrid, Recipe, Sample, Scene, Score

DAY = datetime(2023, 8, 1, tzinfo=UTC)
"""Day of the event."""

BANDS = {
    "S2L2A": (*MODALITIES["S2L2A"].band_names, "SCL"),
    "S1": MODALITIES["S1ASC"].band_names,
    "DEM": MODALITIES["DEM"].band_names,
}


def make_recipe(*overrides: str) -> Recipe:
    """The landslides recipe with small patches."""
    return load_recipe("landslides", ["patch_size=32", *overrides])


def make_grid(**changes: Any) -> PatchGrid:
    """A patch of 32 px at 10 m in zone 33 north."""
    return PatchGrid(
        **{"epsg": 32633, "left": 500_000.0, "top": 5_100_000.0, "size": 32, "resolution": 10.0, **changes}
    )


def make_sample(name: str = "a", **changes: Any) -> Sample:
    """An annotated place whose event is on `DAY`."""
    patch = changes.pop("grid", make_grid())
    lon, lat = grids.centre(patch)
    fields = {"region": "here", "lon": lon, "lat": lat, "date": DAY, "is_annotated": True, **changes}
    return Sample(id=name, grid=patch, **fields)


def rectangle(
    patch: PatchGrid, *, left: float = -1.0, right: float = 2.0, bottom: float = -1.0, top: float = 2.0
) -> bytes:
    """Outline in lon/lat of a rectangle whose edges are told in sides of `patch`, from its lower left corner."""
    west, south, east, north = patch.bounds
    x, y = [left, right, right, left], [bottom, bottom, top, top]
    lon, lat = grids.to_lonlat(
        easting=[west + share * (east - west) for share in x],
        northing=[south + share * (north - south) for share in y],
        epsg=patch.epsg,
    )
    return shapely.to_wkb(shapely.Polygon(zip(lon, lat, strict=True)))


def make_scene(name: str, acquired: datetime = DAY, **changes: Any) -> Scene:
    """A Sentinel-2 scene over the whole of `make_grid()`; each scene is a pass of its own unless told otherwise."""
    product = changes.get("product", "S2L2A")
    fields = {
        "product": product,
        "collection": product.lower(),
        "footprint": rectangle(make_grid()),
        "acquisition": f"pass-{name}",
        "file_id": f"file-{name}",
        "hrefs": {band: f"/{name}/{band}.tif" for band in BANDS[product]},
        "epsg": 32633,
        **changes,
    }
    return Scene(id=name, acquired=acquired, **fields)


def make_score(sample: Sample, scene: Scene, **changes: Any) -> Score:
    """A clear view of `sample` on the pass of `scene`."""
    fields = {"nodata": 0.0, "cloud": 0.0, "shadow": 0.0, "snow": 0.0, **changes}
    return Score(
        sample_id=sample.id, acquisition=scene.acquisition, scene_ids=(scene.id,), acquired=scene.acquired, **fields
    )


def by_pass(scores: Sequence[Score]) -> dict[tuple[str, str], Score]:
    """Scores as the plan looks them up."""
    return {(score.sample_id, score.acquisition): score for score in scores}


def make_choice(name: str = "pass", acquired: datetime = DAY, **changes: Any) -> Choice:
    """An acquisition of one scene."""
    fields = {"file_id": f"file-{name}", "assets": (AssetRef(scene_id=name, hrefs=(f"/{name}.tif",)),), **changes}
    return Choice(acquisition=name, acquired=acquired, **fields)
