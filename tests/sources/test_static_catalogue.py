"""What is particular to a static catalogue: links, broken documents, and what is kept in memory."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shapely.geometry import box

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records.recipe import Collections
from pipeline.sources import Query, open_source, static

QUERY = Query(
    product="S2L2A",
    footprint=box(14.2, 46.2, 14.8, 46.8),
    start=datetime(2023, 8, 1, tzinfo=UTC),
    end=datetime(2023, 8, 31, tzinfo=UTC),
)


def item_file(catalogue: Path) -> Path:
    return next(catalogue.parent.glob("sentinel-2-l2a/2023/*_20230812_*/*.json"))


def test_a_broken_item_is_named(catalogue: Path) -> None:
    path = item_file(catalogue)
    path.write_text('{"type": "Feature", ')
    with pytest.raises(SourceError, match=rf"^item {path} is not JSON") as caught:
        open_source(str(catalogue), Collections()).search(QUERY)
    assert "\n" not in str(caught.value)


def test_an_item_that_cannot_be_used_is_left_out_with_a_warning(
    catalogue: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = open_source(str(catalogue), Collections()).search(QUERY)
    path = item_file(catalogue)
    path.write_text(json.dumps({"type": "Feature", "id": "x"}))
    static._all_scenes.cache_clear()
    rest = open_source(str(catalogue), Collections()).search(QUERY)
    assert len(rest) == len(whole) - 1
    assert f"items left out, first: {path} is not a STAC item" in caplog.text


def test_a_collection_without_a_usable_item_is_refused(catalogue: Path) -> None:
    for path in sorted(catalogue.parent.rglob("*.json")):
        document = json.loads(path.read_text())
        if document.get("type") == "Feature":
            path.write_text(json.dumps({**document, "assets": {}}))
    with pytest.raises(SourceError, match="no Sentinel-2 band among its assets"):
        open_source(str(catalogue), Collections()).search(QUERY)


def test_a_missing_item_is_named(catalogue: Path) -> None:
    path = item_file(catalogue)
    path.unlink()
    with pytest.raises(SourceError, match=rf"^item {path} cannot be read: No such file"):
        open_source(str(catalogue), Collections()).search(QUERY)


def test_broken_items_of_another_collection_do_not_matter(catalogue: Path) -> None:
    item_file(catalogue).write_text("broken")
    dem = Query(product="DEM", footprint=QUERY.footprint)
    assert len(open_source(str(catalogue), Collections()).search(dem)) == 1


def test_a_missing_item_over_http_is_permanent(catalogue: Path, catalogue_url: str) -> None:
    item_file(catalogue).unlink()
    with pytest.raises(SourceError, match=r"item http.*: HTTP 404") as caught:
        open_source(catalogue_url, Collections()).search(QUERY)
    assert not isinstance(caught.value, TransientSourceError)


def test_a_catalogue_that_was_written_anew_is_read_anew(catalogue: Path) -> None:
    source = open_source(str(catalogue), Collections())
    assert len(source.search(QUERY)) == 3
    year = catalogue.parent / "sentinel-2-l2a" / "2023" / "catalog.json"
    document = json.loads(year.read_text())
    year.write_text(json.dumps({**document, "links": document["links"][:1]}))
    os.utime(catalogue, ns=(1, 1))
    assert len(source.search(QUERY)) == 1


def test_local_references_are_plain_paths_beside_the_item(catalogue: Path) -> None:
    scene = open_source(str(catalogue), Collections()).search(QUERY)[0]
    folder = catalogue.parent / "sentinel-2-l2a" / "2023" / scene.id
    assert scene.hrefs == {"B04": str(folder / "B04.tif"), "SCL": str(folder / "SCL.tif")}


@pytest.mark.timeout(30)
def test_links_in_a_circle_are_followed_once(catalogue: Path) -> None:
    year = catalogue.parent / "sentinel-2-l2a" / "2023" / "catalog.json"
    document = json.loads(year.read_text())
    document["links"].append({"rel": "child", "href": "../../catalog.json"})
    year.write_text(json.dumps(document))
    assert len(open_source(str(catalogue), Collections()).search(QUERY)) == 3


def test_a_collection_can_be_the_root(catalogue: Path) -> None:
    root = catalogue.parent / "sentinel-2-l2a" / "collection.json"
    assert len(open_source(str(root), Collections()).search(QUERY)) == 3


def test_a_catalogue_that_disappeared_is_reported(catalogue: Path) -> None:
    source = open_source(str(catalogue), Collections())
    catalogue.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        source.search(QUERY)


def test_items_without_a_collection_of_their_own_take_the_one_they_lie_in(catalogue: Path) -> None:
    path = item_file(catalogue)
    document = json.loads(path.read_text())
    del document["collection"]
    path.write_text(json.dumps(document))
    scenes = open_source(str(catalogue), Collections()).search(QUERY)
    assert {scene.collection for scene in scenes} == {"sentinel-2-l2a"}


@pytest.mark.parametrize(
    ("name", "product", "count"),
    [
        ("slovenia-120m", "S2L2A", 10),
        ("mol-10m", "S2L2A", 12),
        ("mol-10m", "S1", 10),
        ("mol-10m", "DEM", 1),
    ],
)
def test_the_real_catalogues_are_found_whole(shared: Path, name: str, product: str, count: int) -> None:
    source = open_source(str(shared / "real" / name), Collections())
    year = (None, None) if product == "DEM" else (datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    scenes = source.search(Query(product=product, footprint=box(0, 40, 20, 60), start=year[0], end=year[1]))
    assert len(scenes) == count
    assert all(Path(href).is_file() for scene in scenes for href in scene.hrefs.values())
