"""Scenes of Earth Engine against the items of the same archive, field by field."""

import pickle
from datetime import UTC, datetime

import pytest
import shapely
from shapely.geometry import box
from support.earth_engine.algorithms import Catalogue
from support.earth_engine.fixtures import Serve
from support.earth_engine.server import Emulator

from pipeline.archive import Archive
from pipeline.errors import RecipeError, SourceError
from pipeline.records import Product
from pipeline.records.recipe import Collections
from pipeline.sources import Query, open_source
from pipeline.sources.earth_engine import search

pytest_plugins = ["support.earth_engine.fixtures"]

AREA = box(14.97, 37.93, 15.11, 37.98)
START, END = datetime(2021, 12, 1, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC)
SAME = ("acquisition", "acquired", "tile", "platform", "orbit_state", "relative_orbit", "baseline", "cloud_cover")


def query(product: Product, start: datetime | None = START, end: datetime | None = END) -> Query:
    return Query(product=product, footprint=AREA, start=start, end=end)


def test_optical_scenes_are_those_of_the_catalogue(earth: Emulator, archive: Archive) -> None:
    files = open_source(str(archive.catalog), Collections()).search(query("S2L2A"))
    scenes = open_source("earth-engine", Collections()).search(query("S2L2A"))
    assert len(scenes) == len(files) == 24
    by_id = {scene.file_id: scene for scene in files}
    for scene in scenes:
        other = by_id[scene.id]
        assert scene.file_id == scene.id
        assert [getattr(scene, name) for name in SAME] == [getattr(other, name) for name in SAME]
        assert shapely.from_wkb(scene.footprint).equals(shapely.from_wkb(other.footprint))
        assert scene.extras == other.extras
        assert set(scene.hrefs) == set(other.hrefs)


def test_an_offset_that_was_removed_is_not_removed_again(earth: Emulator) -> None:
    scenes = open_source("earth-engine", Collections()).search(query("S2L2A"))
    assert {scene.baseline for scene in scenes} == {"03.01", "04.00"}
    assert {(scene.offset, scene.offset_rule) for scene in scenes} == {(0, "S2_SR_HARMONIZED")}


def test_a_collection_that_keeps_the_offset_is_refused(serve_earth: Serve, earth_catalogue: Catalogue) -> None:
    kept = {**earth_catalogue, "COPERNICUS/S2_SR": earth_catalogue["COPERNICUS/S2_SR_HARMONIZED"]}
    with serve_earth(kept):
        source = open_source("earth-engine", Collections(S2L2A="COPERNICUS/S2_SR"))
        with pytest.raises(SourceError, match="use COPERNICUS/S2_HARMONIZED or COPERNICUS/S2_SR_HARMONIZED"):
            source.search(query("S2L2A"))


@pytest.mark.parametrize("collection", ["COPERNICUS/S1_GRD", "COPERNICUS/S1_GRD_FLOAT"])
def test_radar_scenes_are_those_of_the_catalogue(earth: Emulator, archive: Archive, collection: str) -> None:
    files = open_source(str(archive.catalog), Collections()).search(query("S1"))
    scenes = open_source("earth-engine", Collections(S1=collection)).search(query("S1"))
    key = {scene.acquisition: scene for scene in files}
    assert {scene.acquisition for scene in scenes} == set(key)
    assert len(scenes) == len(files)
    assert {scene.orbit_state for scene in scenes} == {"ascending", "descending"}
    assert {scene.relative_orbit for scene in scenes} == {44, 124}
    for scene in scenes:
        assert len(scene.file_id) == 67
        assert scene.hrefs == {band.lower(): f"ee://{collection}/{scene.id}#{band}" for band in ("VV", "VH")}


def test_elevation_needs_no_time(earth: Emulator) -> None:
    scenes = open_source("earth-engine", Collections()).search(query("DEM", None, None))
    assert sorted(scene.id[-16:] for scene in scenes) == ["7_00_E014_00_DEM", "7_00_E015_00_DEM"]
    assert {scene.acquisition for scene in scenes} == {"COPERNICUS/DEM/GLO30"}


def test_the_window_is_half_open_and_a_scene_belongs_to_its_datatake(earth: Emulator) -> None:
    source = open_source("earth-engine", Collections())
    moment = source.search(query("S2L2A"))[0].acquired
    assert source.search(query("S2L2A", moment, moment.replace(second=moment.second + 1)))
    assert source.search(query("S2L2A", START, moment)) == []
    assert source.search(Query(product="S2L2A", footprint=box(0, 0, 1, 1), start=START, end=END)) == []


def test_scenes_come_in_pages_by_time_and_id(earth: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("earth-engine", Collections())
    whole = source.search(query("S2L2A"))
    monkeypatch.setattr(search, "_PAGE", 5)
    before = earth.computed["computeFeatures"]
    assert source.search(query("S2L2A")) == whole == sorted(whole, key=lambda scene: (scene.acquired, scene.id))
    assert earth.computed["computeFeatures"] - before == 5


def test_a_collection_that_is_not_there_is_named(earth: Emulator) -> None:
    source = open_source("earth-engine", Collections(S1="COPERNICUS/S1_RTC"))
    with pytest.raises(SourceError, match=r"ImageCollection asset 'COPERNICUS/S1_RTC' not found"):
        source.search(query("S1"))


def test_it_can_be_sent_to_a_worker_and_keeps_its_name(earth: Emulator) -> None:
    source = open_source("earth-engine", Collections())
    received = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert received == source
    assert received.search(query("S2L2A")) == source.search(query("S2L2A"))
    assert (source.name, dict(source.gdal_env())) == ("earth-engine", {})
    assert source.sign("ee://COPERNICUS/DEM/GLO30/x#DEM") == "ee://COPERNICUS/DEM/GLO30/x#DEM"


def test_without_a_project_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EE_PROJECT", raising=False)
    with pytest.raises(RecipeError, match="set EE_PROJECT"):
        open_source("earth-engine", Collections())


def test_cloud_score_is_refused_for_catalogues_of_files(archive: Archive) -> None:
    with pytest.raises(RecipeError, match=r"collections\.CLOUDS is for --source earth-engine only"):
        open_source(str(archive.catalog), Collections(CLOUDS="GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"))
