"""What every source must do, whatever is behind it."""

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import box
from support.earth_engine.catalogue import catalogue_of
from support.earth_engine.fixtures import Serve

from pipeline.errors import SourceError
from pipeline.records.recipe import Collections
from pipeline.sources import Query, Source, open_source

pytest_plugins = ["support.earth_engine.fixtures"]

AREA = box(14.2, 46.2, 14.8, 46.8)


def august(first: int, last: int) -> Query:
    return Query(
        product="S2L2A",
        footprint=AREA,
        start=datetime(2023, 8, first, tzinfo=UTC),
        end=datetime(2023, 8, last, tzinfo=UTC),
    )


class SourceTests:
    """Subclasses give `place`: what the user would write after --source for the tiny catalogue."""

    ids = ("S2A_33TVM_20230810_0_L2A", "S2A_33TVM_20230812_0_L2A", "S2A_33TVM_20230815_0_L2A")
    radar = "sentinel-1-nrb"
    absent = r"sentinel-1-nrb is not in .*: it has cop-dem-glo-30, sentinel-2-l2a$"

    @pytest.fixture
    def source(self, place: str) -> Source:
        return open_source(place, Collections())

    def test_scenes_come_by_time_and_id_each_once(self, source: Source) -> None:
        scenes = source.search(august(1, 31))
        assert [scene.id for scene in scenes] == list(self.ids)
        assert scenes == sorted(scenes, key=lambda scene: (scene.acquired, scene.id))

    def test_every_scene_touches_the_footprint(self, source: Source) -> None:
        scenes = source.search(august(1, 31))
        assert all(shapely.from_wkb(scene.footprint).intersects(AREA) for scene in scenes)
        elsewhere = Query(product="S2L2A", footprint=box(0, 0, 1, 1), start=august(1, 31).start, end=august(1, 31).end)
        assert source.search(elsewhere) == []

    def test_the_window_is_half_open(self, source: Source) -> None:
        instant = datetime(2023, 8, 10, 9, 50, 31, tzinfo=UTC)
        later = datetime(2023, 8, 11, tzinfo=UTC)
        earlier = datetime(2023, 8, 9, tzinfo=UTC)
        assert len(source.search(Query(product="S2L2A", footprint=AREA, start=instant, end=later))) == 1
        assert source.search(Query(product="S2L2A", footprint=AREA, start=earlier, end=instant)) == []

    def test_a_scene_belongs_to_the_day_its_datatake_began(self, source: Source) -> None:
        assert [scene.id for scene in source.search(august(14, 15))] == [self.ids[-1]]
        assert source.search(august(15, 16)) == []

    def test_a_static_product_needs_no_time(self, source: Source) -> None:
        scenes = source.search(Query(product="DEM", footprint=AREA))
        assert [scene.id for scene in scenes] == ["N46E014"]

    def test_references_are_absolute_and_unsigned(self, source: Source) -> None:
        for scene in source.search(august(1, 31)):
            assert set(scene.hrefs) >= {"B04", "SCL"}
            for href in scene.hrefs.values():
                assert "://" in href or Path(href).is_absolute()
                assert "secret" not in href
                assert source.sign(href) == href

    def test_it_can_be_sent_to_a_worker(self, source: Source) -> None:
        received = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert received == source
        assert received.search(august(1, 31)) == source.search(august(1, 31))

    def test_a_collection_that_is_not_there_is_named_with_those_that_are(self, place: str) -> None:
        source = open_source(place, Collections(S1=self.radar))
        query = Query(product="S1", footprint=AREA, start=august(1, 31).start, end=august(1, 31).end)
        with pytest.raises(SourceError, match=self.absent):
            source.search(query)

    def test_it_keeps_the_name_that_the_user_gave(self, place: str, source: Source) -> None:
        assert source.name == place
        assert dict(source.gdal_env()) == {}


class TestStaticCatalogueOnDisk(SourceTests):
    @pytest.fixture
    def place(self, catalogue: Path) -> str:
        return str(catalogue)


class TestStaticCatalogueOverHttp(SourceTests):
    @pytest.fixture
    def place(self, catalogue_url: str) -> str:
        return catalogue_url


class TestStacApi(SourceTests):
    @pytest.fixture
    def place(self, api: Any) -> str:
        return f"{api.address}/"


class TestEarthEngine(SourceTests):
    ids = (
        "20230810T095031_20230810T095630_T33TVM",
        "20230812T095031_20230812T095630_T33TVM",
        "20230814T235800_20230815T000200_T33TVM",
    )
    radar = "COPERNICUS/S1_NRB"
    absent = r"ImageCollection asset 'COPERNICUS/S1_NRB' not found"

    @pytest.fixture
    def place(self, serve_earth: Serve, catalogue: Path) -> Iterator[str]:
        with serve_earth(catalogue_of(catalogue)):
            yield "earth-engine"
