"""The command, from an inventory without dates to a dataset, on the embedded archive with its known event."""

import json
import shutil
from dataclasses import replace

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from shapely.geometry import mapping

from pipeline.cli import main
from pipeline.cluster import LocalRunner
from pipeline.dating import DatingRequest, date_inventory
from pipeline.recipes import load_recipe
from pipeline.sources import open_source

EVENT = "2022-01-10"
TIME = ["--start", "2021-12-01", "--end", "2022-02-28"]
DEMO = ["series_length=3", "window.before=60", "window.after=60", "modalities=[S2L2A,MASK]", "bands.S2L2A=[B04,B08]"]
BOWTIE = {"type": "Polygon", "coordinates": [[[15, 37.9], [15.01, 37.91], [15.01, 37.9], [15, 37.91], [15, 37.9]]]}
AWAY = mapping(shapely.box(20.0, 37.9, 20.001, 37.901))


class Uncorrected:
    """A source that says nothing of offsets."""

    def __init__(self, source):
        self.source, self.name = source, source.name

    def search(self, query):
        return [replace(scene, offset=0) for scene in self.source.search(query)]

    def __getattr__(self, name):
        return getattr(self.source, name)


@pytest.fixture(scope="module")
def archive(embedded_archive):
    return embedded_archive


def inventory(archive, path, change):
    content = json.loads(archive.inventory.read_text())
    for feature in content["features"]:
        change(feature["properties"])
    path.write_text(json.dumps(content))
    return content, path


@pytest.fixture(scope="module")
def undated(archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("dating") / "undated.geojson"
    return inventory(archive, path, lambda row: row.pop("event_date"))[1]


def date(archive, places, out, *more):
    arguments = ["date", "landslides", "--places", str(places), "--source", str(archive.catalog), *TIME]
    return main([*arguments, "--out", str(out), *more])


@pytest.fixture(scope="module")
def dated(archive, undated):
    out = undated.with_name("dated.parquet")
    assert date(archive, undated, out, "--min-observations", "2") == 0
    return out


def test_every_slide_is_dated_by_an_interval_that_holds_the_day_of_the_event(dated):
    table = gpd.read_parquet(dated)
    assert table.id.tolist() == [f"slide-{number:02d}" for number in range(1, 13)]
    assert (table.date_from < EVENT).all()
    assert (table.date_to >= EVENT).all()
    assert (table.event_date == table.date_to).all()
    assert (table.method == "interval").all()
    assert (table.magnitude > 0.4).all()
    assert (table.event_conf > 0.9).all()
    assert table.reason.isna().all()


def test_the_default_rules_date_fewer_slides_and_none_wrongly(archive, undated, tmp_path, capsys):
    assert date(archive, undated, tmp_path / "dated.parquet") == 0
    table = gpd.read_parquet(tmp_path / "dated.parquet")
    known = table[table.event_date.notna()]
    assert 0 < len(known) < len(table)
    assert ((known.date_from < EVENT) & (known.date_to >= EVENT)).all()
    assert set(table[table.event_date.isna()].reason) == {"too_few_observations"}
    assert f"{len(table) - len(known)} × too_few_observations" in capsys.readouterr().out


def test_the_series_hold_every_acquisition_of_every_slide(dated):
    series = pq.read_table(dated.with_name("dated.ndvi.parquet"))
    assert series.schema.field("acquired").type.tz == "UTC"
    frame = series.to_pandas()
    assert frame.columns.tolist() == [
        "id", "acquired", "file_id", "ndvi", "ndvi_undisturbed", "pixels", "pixels_undisturbed", "clear"
    ]  # fmt: skip
    assert frame.equals(frame.sort_values(["id", "acquired", "file_id"], ignore_index=True))
    assert set(frame.groupby("id").size()) <= {10, 11, 12}
    assert ((frame.pixels == 0) == frame.ndvi.isna()).all()
    assert frame.ndvi.dropna().between(-1, 1).all()


def test_the_change_of_baseline_shows_in_no_ring_unless_the_offset_is_left_on(archive, undated, dated):
    """Products carry +1000 from 2022-01-25 on."""

    def fall(frame):
        seen = frame[frame.pixels_undisturbed > 3000]
        later = seen.acquired >= "2022-01-25"
        before, after = (seen[rows].groupby("id").ndvi_undisturbed.median() for rows in (~later, later))
        return (before - after).dropna()

    corrected = pd.read_parquet(dated.with_name("dated.ndvi.parquet"))
    assert fall(corrected).abs().max() < 0.05

    recipe = load_recipe("landslides")
    days = [pd.Timestamp(text).date() for text in TIME[1::2]]
    request = DatingRequest(recipe=recipe, places=str(undated), start=days[0], end=days[1])
    source = Uncorrected(open_source(str(archive.catalog), recipe.collections))
    progress = []
    wrong = date_inventory(request, source, LocalRunner(), lambda *counts: progress.append(counts)).series.to_pandas()
    assert fall(wrong).min() > 0.2
    assert (progress[0], progress[-1]) == ((0, 12), (12, 12))
    assert progress == sorted(progress)


def test_the_dates_serve_as_places_of_a_dataset(archive, dated, tmp_path):
    sets = [part for text in DEMO for part in ("--set", text)]
    out = tmp_path / "dataset"
    assert (
        main(
            ["build", "landslides", "--places", str(dated), "--source", str(archive.catalog), "--out", str(out), *sets]
        )
        == 0
    )
    assert len(list(out.rglob("*.zarr.zip"))) >= 2
    assert len(pd.read_parquet(out / "events.parquet")) == 12


def test_workers_change_no_byte(archive, undated, dated, tmp_path):
    out = tmp_path / "dated.parquet"
    assert date(archive, undated, out, "--min-observations", "2", "--workers", "2") == 0
    for name in ("dated.parquet", "dated.ndvi.parquet"):
        assert (tmp_path / name).read_bytes() == dated.with_name(name).read_bytes()


def test_rows_with_faults_are_kept_and_known_dates_win(archive, tmp_path, capsys):
    content, path = inventory(archive, tmp_path / "mixed.geojson", lambda row: row.update(event_date=None, author="x"))
    shapes = [feature["geometry"] for feature in content["features"]]
    rows = [
        ("known", "2022-01-09", shapes[0]),
        ("impossible", "2023-02-30", shapes[3]),
        ("slashes", "16/05/2023", shapes[7]),
        ("null", None, None),
        ("bowtie", None, BOWTIE),
        ("away", "", AWAY),
        ("dated-null", "2022-01-10", None),
    ]
    content["features"] = [
        {"type": "Feature", "properties": {"id": name, "event_date": day, "author": "x"}, "geometry": shape}
        for name, day, shape in rows
    ]
    path.write_text(json.dumps(content))
    assert date(archive, path, tmp_path / "out.parquet") == 0
    table = gpd.read_parquet(tmp_path / "out.parquet").set_index("id")
    assert table.index.tolist() == [name for name, _, _ in rows]
    assert table.method.fillna("").tolist() == ["inventory", "interval", "interval", "", "", "", "inventory"]
    assert table.event_date["known"] == "2022-01-09"
    assert table.event_conf[["known", "dated-null"]].tolist() == [1.0, 1.0]
    assert table.reason[["null", "bowtie", "away"]].tolist() == ["no_geometry", "invalid_geometry", "outside_source"]
    assert table.observations.isna().tolist() == [True, False, False, True, True, False, True]
    assert (table.author == "x").all()
    assert table.geometry.isna().tolist() == [name in {"null", "dated-null"} for name, _, _ in rows]
    printed = capsys.readouterr().out
    assert "7 polygons; dated: 2 by interval, 2 by inventory; undatable: 3" in printed
    assert "undatable: 1 × outside_source" in printed
    # Looked at on demand, and still the inventory's.
    assert date(archive, path, tmp_path / "all.parquet", "--all") == 0
    known = gpd.read_parquet(tmp_path / "all.parquet").set_index("id").loc["known"]
    assert (known.event_date, known.method) == ("2022-01-09", "inventory")
    assert known.pre_dt2 < EVENT <= known.event_dt2


def test_the_published_rule_looks_at_every_polygon_and_keeps_its_columns(archive, tmp_path):
    _, path = inventory(
        archive, tmp_path / "two.geojson", lambda row: row.pop("event_date") if row["id"] < "slide-07" else 0
    )
    assert date(archive, path, tmp_path / "out.parquet", "--method", "compat") == 0
    table = gpd.read_parquet(tmp_path / "out.parquet").set_index("id")
    # Three months are all edge.
    assert set(table.reason[:6]) <= {"drop_at_edge", "no_drop"}
    assert table.event_conf.tolist() == [0.0] * 6 + [1.0] * 6
    assert (table.observations >= 4).all()
    assert (table.pre_dt2[6:] == "2021-12-11").all()
    assert (table.post_dt2[6:] == "2022-02-09").all()
    assert table.event_dt2.isna().all()
    assert (table.pre_date[6:] == "2021-12-11").all()
    assert table.date_from.isna().all()


def test_columns_are_named_as_the_recipe_names_them(archive, tmp_path):
    _, path = inventory(archive, tmp_path / "named.geojson", lambda row: row.update(slide=row.pop("id"), happened="?"))
    names = ["--set", "places.columns.id=slide", "--set", "places.columns.date=happened"]
    assert date(archive, path, tmp_path / "out.parquet", *names) == 0
    table = gpd.read_parquet(tmp_path / "out.parquet")
    assert table.columns[:2].tolist() == ["slide", "happened"]
    assert table.happened.notna().any()
    # The inventory's other date column is no longer the one that was asked for, and stays what it was.
    assert set(table.event_date.astype(str)) == {EVENT}


def test_an_unreadable_scene_is_absent_and_counted(archive, undated, dated, tmp_path, capsys):
    copy = shutil.copytree(archive.catalog.parent, tmp_path / "archive", ignore=shutil.ignore_patterns("*.parquet"))
    (broken,) = [path for path in copy.rglob("*20220127*33SVC*") if path.is_dir()]
    for file in broken.glob("*B08*"):
        file.write_bytes(b"no raster")
    places, out = str(undated), tmp_path / "out.parquet"
    arguments = ["date", "landslides", "--places", places, "--source", str(copy / "catalog.json"), *TIME]
    assert main([*arguments, "--out", str(out)]) == 0
    whole, rest = (pd.read_parquet(path.with_suffix(".ndvi.parquet")) for path in (dated, out))
    lost = len(whole) - len(rest)
    assert 0 < lost <= 12
    assert f"warning: {lost} observations could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"--start": "2022-02-30"}, "--start 2022-02-30 is not a day written as YYYY-MM-DD"),
        ({"--end": "2021-11-30"}, "the end, 2021-11-30, is before the start, 2021-12-01"),
        ({"--out": "nowhere/dated.csv"}, "end it with .parquet"),
        ({"--min-drop": "0"}, "min-drop must be above 0"),
        ({"--start": "2019-01-01", "--end": "2019-02-01"}, "lies outside the archive"),
        ({"--workers": "-1"}, "--workers -1 is negative"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(archive, undated, tmp_path, capsys, change, text):
    options = {
        "--places": str(undated), "--source": str(archive.catalog), "--start": TIME[1], "--end": TIME[3],
        "--out": str(tmp_path / "dated.parquet"), **change,
    }  # fmt: skip
    assert main(["date", "landslides", *(part for pair in options.items() for part in pair)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(archive, undated, dated, capsys):
    before = dated.read_bytes()
    assert date(archive, undated, dated) == 2
    assert "is there already" in capsys.readouterr().err
    assert dated.read_bytes() == before
