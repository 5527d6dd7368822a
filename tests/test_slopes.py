"""Slopes by a source's elevation: the order of patches does not matter, and trouble is told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.records import make_grid, make_sample, make_scene, rectangle

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records import Scene
from pipeline.slopes import DemSlopes
from pipeline.sources import Query

GRID = make_grid()


@dataclass(frozen=True)
class Hills:
    """A source of two elevation tiles: a plane that rises eastwards, and beyond it one that rises twice as much."""

    folder: Path
    error: Exception | None = None

    @property
    def name(self) -> str:
        return "hills"

    def search(self, query: Query) -> list[Scene]:
        assert (query.product, query.start) == ("DEM", None)
        if self.error is not None:
            raise self.error
        return [self._scene("west", -10.0, 10.0), self._scene("east", 10.0, 40.0)]

    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> Mapping[str, str]:
        return {}

    def _scene(self, name: str, left: float, right: float) -> Scene:
        return make_scene(
            name, datetime(2021, 1, 1, tzinfo=UTC), product="DEM", acquisition="dem",
            footprint=rectangle(GRID, left=left, right=right), hrefs={"DEM": str(self.folder / f"{name}.tif")},
        )  # fmt: skip


@pytest.fixture
def hills(tmp_path: Path) -> Hills:
    west, _, _, top = GRID.bounds
    for name, first, last, rise in (("west", -10, 10, 0.5), ("east", 10, 40, 1.0)):
        left, width = west + first * 320.0, (last - first) * 32
        heights = np.broadcast_to(rise * 10.0 * np.arange(width, dtype=np.float32), (96, width))
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=width, height=96, count=1, dtype="float32",
            crs="EPSG:32633", transform=rasterio.Affine(10, 0, left, 0, -10, top + 320.0),
        ) as raster:  # fmt: skip
            raster.write(heights, 1)
    return Hills(tmp_path)


def place(name: str, across: float):
    return make_sample(name, grid=make_grid(left=GRID.left + across * 320.0))


def test_each_patch_has_the_slope_of_the_ground_under_it(hills: Hills) -> None:
    samples = [place("b", 20.0), place("a", 0.0), place("c", 3.0), place("d", 500.0)]
    gentle, steep = np.degrees(np.arctan([0.5, 1.0]))
    assert DemSlopes(source=hills)(samples) == pytest.approx([steep, gentle, gentle, np.nan], nan_ok=True, abs=1e-4)
    assert DemSlopes(source=hills)(samples[::-1]) == pytest.approx(
        [np.nan, gentle, gentle, steep], nan_ok=True, abs=1e-4
    )
    assert DemSlopes(source=hills)([]).size == 0


def test_elevation_that_cannot_be_read_tells_no_slope(hills: Hills) -> None:
    (hills.folder / "east.tif").write_bytes(b"no raster")
    slopes = DemSlopes(source=hills)([place("a", 0.0), place("b", 20.0)])
    assert np.isnan(slopes).tolist() == [False, True]


@pytest.mark.parametrize("error", [TransientSourceError("throttled"), SourceError("no such collection")])
def test_a_search_that_fails_is_no_flat_ground(hills: Hills, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        DemSlopes(source=Hills(hills.folder, error))([place("a", 0.0)])


def test_a_read_that_breaks_off_is_no_flat_ground(hills: Hills, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(*arguments: object, **options: object) -> None:
        raise TransientSourceError("broke off")

    monkeypatch.setattr("pipeline.sources.window.RasterReader.read_measured", break_off)
    with pytest.raises(TransientSourceError, match="broke off"):
        DemSlopes(source=hills)([place("a", 0.0)])
