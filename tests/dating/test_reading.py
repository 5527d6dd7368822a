"""Reading observations: offsets, tiles that are joined, clear pixels, and files that cannot be read."""

import socket
import zlib
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from support.records import DAY, make_grid, make_scene

from pipeline.dating.reading import observe, read_visit, visits_of
from pipeline.dating.targets import Target, draw_zones
from pipeline.errors import TransientSourceError
from pipeline.sources.reading import open_reader

GRID = make_grid(size=16)
SHAPE = shapely.box(GRID.left + 20, GRID.top - 60, GRID.left + 60, GRID.top - 20)
RING = shapely.box(GRID.left + 100, GRID.top - 160, GRID.left + 160, GRID.top)
ZONES = draw_zones(SHAPE, RING, GRID)


@dataclass(frozen=True)
class Local:
    def sign(self, href):
        return href

    def gdal_env(self):
        return {"GDAL_HTTP_MAX_RETRY": "0"}


def make_target(name="a", row=0, **changes):
    return Target(row=row, id=name, grid=make_grid(size=16, **changes), packed=zlib.compress(ZONES.tobytes()))


def write(path, values, *, resolution=10.0):
    transform = Affine(resolution, 0.0, GRID.left, 0.0, -resolution, GRID.top)
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype=values.dtype, crs="EPSG:32633",
        transform=transform, nodata=0,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


def scene_of(folder, name, *, red, infrared, scl, day=0, **changes):
    hrefs = {
        "B04": write(folder / f"{name}_B04.tif", red.astype(np.uint16)),
        "B08": write(folder / f"{name}_B08.tif", infrared.astype(np.uint16)),
        "SCL": write(folder / f"{name}_SCL.tif", scl.astype(np.uint8), resolution=160 / len(scl)),
    }
    return make_scene(name, DAY + timedelta(days=day), hrefs=hrefs, **changes)


def draw(seed=0, low=200, high=5000):
    return np.random.default_rng(seed).integers(low, high, (16, 16))


def ndvi_of(red, infrared, chosen):
    values = ((infrared - red) / (infrared + red))[chosen]
    first, third = np.quantile(values, [0.25, 0.75])
    return np.median(values[np.abs(values - (first + third) / 2) <= 2 * (third - first)])


def look(*scenes, target=None):
    return [
        item
        for visit in visits_of([target or make_target()], scenes)
        for _, item in read_visit(visit, Local()).observations
    ]


def test_medians_are_those_of_the_clear_pixels_at_their_own_place(tmp_path):
    red, infrared = draw(1, 1000, 1100), draw(2, 4000, 4100)
    scl = np.full((8, 8), 4)
    # 20 m classification: the polygon's left half is clouded, and bright where it is.
    scl[1:3, 1] = 9
    red[2:6, 2:4] = 9000
    (seen,) = look(scene_of(tmp_path, "s", red=red, infrared=infrared, scl=scl))
    clear = np.kron(scl, np.ones((2, 2))) == 4
    assert seen.ndvi == pytest.approx(ndvi_of(red, infrared, (ZONES == 2) & clear))
    assert seen.ndvi_undisturbed == pytest.approx(ndvi_of(red, infrared, ZONES == 1))
    assert (seen.pixels, seen.pixels_undisturbed, seen.clear) == (8, 96, 0.5)
    assert (seen.id, seen.file_id) == ("a", "file-s")


def test_the_offset_of_each_scene_is_taken_off(tmp_path):
    red, infrared = draw(1), draw(2)
    scl = np.full((16, 16), 5)
    plain = scene_of(tmp_path, "plain", red=red, infrared=infrared, scl=scl)
    moved = scene_of(tmp_path, "moved", red=red + 1000, infrared=infrared + 1000, scl=scl, day=1, offset=-1000)
    wrong = replace(moved, id="wrong", acquisition="wrong", acquired=DAY + timedelta(days=2), offset=0)
    first, second, third = look(plain, moved, wrong)
    assert (first.ndvi, first.ndvi_undisturbed) == (second.ndvi, second.ndvi_undisturbed)
    assert first.ndvi == pytest.approx(ndvi_of(red, infrared, ZONES == 2), abs=1e-12)
    assert abs(third.ndvi) < abs(first.ndvi)


def test_tiles_of_one_pass_are_joined_each_with_its_own_offset(tmp_path):
    red, infrared = draw(1), draw(2)
    west, east = np.full((16, 16), 4), np.full((16, 16), 4)
    west[:, 4:] = 0
    one = scene_of(tmp_path, "one", red=red, infrared=infrared, scl=west, acquisition="pass")
    two = scene_of(
        tmp_path, "two", red=red + 1000, infrared=infrared + 1000, scl=east, acquisition="pass", offset=-1000
    )
    (seen,) = look(one, two)
    assert (seen.pixels, seen.clear) == (16, 1.0)
    assert seen.ndvi == pytest.approx(ndvi_of(red, infrared, ZONES == 2))


def test_bands_are_not_read_where_nothing_of_the_polygon_is_clear(tmp_path):
    scl = np.where(ZONES == 2, 8, 4)
    scene = scene_of(tmp_path, "s", red=draw(), infrared=draw(), scl=scl)
    (seen,) = look(replace(scene, hrefs={**scene.hrefs, "B04": "/nowhere.tif", "B08": "/nowhere.tif"}))
    assert (seen.ndvi, seen.ndvi_undisturbed, seen.pixels, seen.clear) == (None, None, 0, 0.0)


def test_what_cannot_be_read_is_absent_and_said(tmp_path):
    scl = np.full((16, 16), 4)
    good = scene_of(tmp_path, "good", red=draw(), infrared=draw(), scl=scl)
    broken = replace(good, id="broken", acquisition="broken", hrefs={**good.hrefs, "B08": "/nowhere.tif"})
    seen = {
        visit.choice.acquisition: read_visit(visit, Local()) for visit in visits_of([make_target()], [good, broken])
    }
    assert len(seen["pass-good"].observations) == 1
    assert seen["pass-good"].unreadable == ()
    assert seen["broken"].observations == ()
    (problem,) = seen["broken"].unreadable
    assert "/nowhere.tif cannot be read" in problem


def test_a_transient_fault_stops_everything(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = make_scene("away", hrefs=dict.fromkeys(("B04", "B08", "SCL"), f"http://127.0.0.1:{port}/x.tif"))
    (visit,) = visits_of([make_target()], [away])
    with pytest.raises(TransientSourceError, match="could not be read now"):
        read_visit(visit, Local())


def test_times_are_whole_seconds(tmp_path):
    scene = scene_of(tmp_path, "s", red=draw(), infrared=draw(), scl=np.full((16, 16), 4))
    (visit,) = visits_of([make_target()], [replace(scene, acquired=DAY.replace(microsecond=999))])
    with open_reader(Local()) as reader:
        assert observe(visit.targets[0], visit.choice, reader).acquired == DAY


def test_a_visit_holds_polygons_of_the_same_scenes_and_no_more_than_asked_for():
    targets = [make_target(str(row), row, left=GRID.left + 160.0 * (row % 2)) for row in range(5)]
    here, there = make_scene("here"), make_scene("there")
    visits = visits_of(targets, [here, there], largest=2)
    assert [len(visit.targets) for visit in visits] == [2, 2, 1, 2, 2, 1]
    assert [visit.choice.acquisition for visit in visits] == ["pass-here"] * 3 + ["pass-there"] * 3
    assert {target.id for visit in visits[:3] for target in visit.targets} == set("01234")
    assert visits_of([make_target(left=GRID.left + 5e5)], [here]) == []
