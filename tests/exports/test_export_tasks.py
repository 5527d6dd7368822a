"""splits.json, norm.json, locations and settings: against the released ones, and against the exported files."""

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.records import make_grid, make_sample
from support.small_datasets import make_site
from support.split_lists import write_lists

from pipeline.exports.request import ExportRequest
from pipeline.exports.sen12landslides.patches import Written
from pipeline.exports.sen12landslides.sensors import SENSORS, inventory_of, patch_key
from pipeline.exports.sen12landslides.splits import open_splitter
from pipeline.exports.sen12landslides.tasks import TaskWriter
from pipeline.grid import to_utm
from pipeline.records import Moments
from pipeline.splits.audit import read_locations
from pipeline.splits.compat import compat_split

GOLDEN = "golden/sen12landslides/tasks"
LD = "S12LS-LD/harmonized"


def read(path):
    return json.loads(path.read_text())


def patches_of(entries, radiometry, places):
    """Files of released entries: their places and sizes, and no pixels."""
    moments = {radiometry: {"B02": Moments(count=1, mean=1.0), "DEM": Moments(count=1, mean=2.0)}}
    for entry in entries:
        sample = make_sample(entry["id"], is_annotated=entry["pixel_annotated"] > 0)
        if entry["id"] in places.index:
            place = places.loc[entry["id"]]
            grid = make_grid(epsg=int(place.crs_original.removeprefix("EPSG:")), size=128)
            sample = replace(sample, grid=grid, lon=place.lon, lat=place.lat)
        for sensor in SENSORS.keys() & entry.keys():
            yield Written(
                sample=sample, sensor=sensor, file=f"{sensor}/{SENSORS[sensor].file_name(entry['id'])}",
                pixel_annotated=entry["pixel_annotated"], confidence=1.0, moments=moments,
            )  # fmt: skip


def write_as_released(shared, name, out):
    """The task files of the patches that a released splits file names, by the published splitter."""
    radiometry = name.split("/")[1]
    places = gpd.read_file(shared / GOLDEN / LD / "s2/patch_locations.geojson").set_index("patch_id")
    entries = [entry for split in read(shared / GOLDEN / name).values() for entry in split]
    request = ExportRequest(roots=(), out=out, split="compat", radiometries=(radiometry,))
    notes = []
    writer = TaskWriter(out=out, request=request, splitter=open_splitter((), "compat"), notes=notes)
    writer.write(list(patches_of(entries, radiometry, places)))
    assert notes == []
    return out / "tasks"


@pytest.fixture(scope="session")
def written_as_released(shared, tmp_path_factory):
    return write_as_released(shared, f"{LD}/s2/splits.json", tmp_path_factory.mktemp("released"))


def test_released_locations_are_written_to_the_byte(shared, written_as_released):
    ours, released = (root / LD / "s2/patch_locations.geojson" for root in (written_as_released, shared / GOLDEN))
    assert ours.read_bytes() == released.read_bytes()


@pytest.mark.parametrize(
    "name", [f"{LD}/s2/splits.json", f"{LD}/splits_aligned.json", "S12LS-AD/raw/s1dsc/splits.json"]
)
def test_released_splits_are_written_to_the_byte(shared, tmp_path, name):
    ours = write_as_released(shared, name, tmp_path) / name
    assert ours.read_bytes() == (shared / GOLDEN / name).read_bytes()


def test_settings_have_the_keys_of_the_release(shared, written_as_released):
    ours, released = (read(root / LD / "config.json") for root in (written_as_released, shared / GOLDEN))
    assert list(ours)[: len(released)] == list(released)
    assert list(ours)[len(released) :] == ["split", "norm"]
    assert list(ours["filter_criteria"]) == list(released["filter_criteria"])
    same = {key: value for key, value in released["filter_criteria"].items() if key != "satellites"}
    assert {key: ours["filter_criteria"][key] for key in same} == same
    assert [ours[key] for key in ("test_size", "val_size", "seed")] == [0.2, 0.2, 42]


def test_statistics_are_laid_out_as_released(shared, exported):
    ours = (exported / "tasks/S12LS-AD/harmonized/s2/norm.json").read_text()
    released = (shared / GOLDEN / LD / "s2/norm.json").read_text()

    def shape(text):
        return [line.split(":")[0] for line in text.split("\n")]

    assert shape(ours) == shape(released)
    old = read(shared / "golden/sen12landslides/experiments/exp1/raw/s1dsc/norm_data.json")
    norm = read(exported / "experiments/export/raw/s1dsc/norm_data.json")
    assert {key: len(values) for key, values in norm.items()} == {key: len(values) for key, values in old.items()}
    assert norm["mean"] == list(read(exported / "tasks/S12LS-AD/raw/s1dsc/norm.json")["s1dsc"]["mean"].values())


@pytest.mark.parametrize("radiometry", ["raw", "harmonized"])
def test_one_list_decides_for_every_sensor_and_task(listed_demo, exported, radiometry):
    folder = listed_demo / "splits/blocks"
    listed = {split: (folder / f"{split}.txt").read_text().split() for split in ("train", "val", "test")}
    for task in ("S12LS-AD", "S12LS-LD"):
        root = exported / "tasks" / task / radiometry
        aligned = read(root / "splits_aligned.json")
        for sensor in SENSORS:
            splits = read(root / sensor / "splits.json")
            assert list(splits) == ["train", "val", "test"]
            for split, entries in splits.items():
                ids = [entry["id"] for entry in entries]
                assert ids == sorted(ids)
                assert set(ids) <= set(listed[split])
                assert task == "S12LS-LD" or ids == listed[split]
                assert task == "S12LS-AD" or all(entry["pixel_annotated"] >= 50 for entry in entries)
                assert all(patch_key(entry[sensor].split("/")[1]) == entry["id"] for entry in entries)
                assert all((exported / "data" / f"data_{radiometry}" / entry[sensor]).is_file() for entry in entries)
                assert ids == [entry["id"] for entry in aligned[split]]
        keys = ["id", "s1asc", "s1dsc", "s2", "pixel_annotated", "inventory"]
        assert all(list(entry) == keys for entries in aligned.values() for entry in entries)
        assert list(read(root / "norm_aligned.json")) == list(SENSORS)
    old = read(exported / "experiments/export" / radiometry / "s2/data_paths.json")
    assert all((exported / path).is_file() for paths in old.values() for path in paths)
    assert [len(paths) for paths in old.values()] == [len(ids) for ids in listed.values()]


def test_counts_by_split_and_place_agree_with_the_points(exported):
    root = exported / "tasks/S12LS-AD/raw/s2"
    points = gpd.read_file(root / "patch_locations.geojson")
    rows = [
        (entry["id"], split, entry["inventory"], entry["pixel_annotated"])
        for split, entries in read(root / "splits.json").items()
        for entry in entries
    ]
    found = points[["patch_id", "split", "inventory", "annotated_pixels"]].itertuples(index=False, name=None)
    assert sorted(found) == sorted(rows)
    locations = read_locations(root / "patch_locations.geojson")
    assert len(locations) == len(rows)
    # The point is the middle of the patch, half a patch from the lattice's lines.
    for metres in to_utm(lon=points.lon, lat=points.lat, epsg=32633):
        steps = (metres - 640.0) / 1280.0
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)


def pixels(exported, radiometry, sensor, ids, name):
    """Every value of a variable in the files of these patches, as float64."""
    found = []
    for id_ in ids:
        path = exported / "data" / f"data_{radiometry}" / sensor / SENSORS[sensor].file_name(id_)
        with xr.open_dataset(path) as file:
            found.append(file[name].values.astype(np.float64))
    return np.concatenate([cube.ravel() for cube in found])


@pytest.mark.parametrize("radiometry", ["raw", "harmonized"])
def test_published_statistics_are_those_of_every_pixel_of_every_train_file(tmp_path, export_of, radiometry):
    site = make_site(5, size=32)
    site.arrays["S2L2A"][0, 1, :, 3:5, 4:7] = -32_768
    site.arrays["S1ASC"][2, 0, :, 0, :9] = np.nan
    site.lost.add((2, "S2L2A", 4))
    root = site.write(tmp_path / "site")
    write_lists(root, "mine", {"train": ["site_100", "site_102", "site_103"], "val": ["site_101"], "test": []})
    out = export_of(root, out=tmp_path / "out", options=("--split", "mine", "--norm", "compat"))
    for sensor in SENSORS:
        norm = read(out / "tasks/S12LS-AD" / radiometry / sensor / "norm.json")[sensor]
        for name, mean in norm["mean"].items():
            values = pixels(out, radiometry, sensor, ["site_100", "site_102", "site_103"], name)
            assert values.size == 3 * 6 * 32 * 32
            assert mean == pytest.approx(values.mean(), rel=1e-9)
            assert norm["std"][name] == pytest.approx(values.std(), rel=1e-9)


def test_statistics_leave_out_what_was_filled_or_repeated_by_default(tmp_path, export_of):
    site = make_site(2, size=32)
    site.arrays["S2L2A"][0, 1, :, 3:5, 4:7] = -32_768
    site.arrays["DEM"][0, 0, 0, 5] = np.nan
    site.lost.add((0, "S2L2A", 4))
    root = site.write(tmp_path / "site")
    write_lists(root, "mine", {"train": ["site_100"], "val": [], "test": []})
    out = export_of(root, out=tmp_path / "out", options=("--split", "mine", "--radiometry", "harmonized"))
    norm = read(out / "tasks/S12LS-AD/harmonized/s2/norm.json")["s2"]
    held = site.arrays["S2L2A"][0, [0, 1, 2, 3, 5]].astype(np.float64)
    for band, name in enumerate(site.recipe.bands_of("S2L2A")):
        if name in norm["mean"]:
            values = held[:, band][held[:, band] != -32_768].clip(0, 10_000)
            assert values.size == 5 * 1024 - 6
            assert norm["mean"][name] == pytest.approx(values.mean(), rel=1e-12)
            assert norm["std"][name] == pytest.approx(values.std(), rel=1e-12)
    height = np.trunc(site.arrays["DEM"][0, 0, 0].clip(0, None))
    assert norm["mean"]["DEM"] == pytest.approx(np.nanmean(height), rel=1e-12)


def test_a_split_without_train_is_said_and_the_rest_is_there(listed_demo, tmp_path, export_of, capsys):
    options = ("--split", "idle", "--radiometry", "raw")
    out = export_of(listed_demo, out=tmp_path / "out", options=options)
    lines = capsys.readouterr().out.splitlines()
    assert "S12LS-AD s2: no train patch (0 train, 11 val, 11 test): it has no statistics; try another split" in lines
    assert (out / "tasks/S12LS-AD/raw/s2/splits.json").is_file()
    assert not list(out.rglob("norm*.json"))
    assert len(list((out / "data/data_raw/s2").iterdir())) == 22


def test_a_task_that_nothing_is_left_for_is_said(tmp_path, export_of, capsys):
    site = make_site(2, size=32)
    site.arrays["MASK"][:] = 0
    site.arrays["MASK"][0, 0, 0, 0, :49] = 1
    root = site.write(tmp_path / "site")
    write_lists(root, "blocks", {"train": ["site_100", "site_101"]})
    out = export_of(root, out=tmp_path / "out", options=())
    lines = capsys.readouterr().out.splitlines()
    assert "S12LS-LD s2: no patch takes part in the task: it has no files" in lines
    assert [path.name for path in (out / "tasks").iterdir()] == ["S12LS-AD"]
    entries = read(out / "tasks/S12LS-AD/raw/s2/splits.json")["train"]
    assert [entry["pixel_annotated"] for entry in entries] == [32, 0]


def test_the_published_splitter_takes_each_sensor_by_itself(listed_demo, tmp_path, export_of, capsys):
    out = export_of(listed_demo, out=tmp_path / "out", options=("--split", "compat", "--radiometry", "raw"))
    assert "S12LS-LD s2: 9 patches cannot be split as published" in capsys.readouterr().out
    for sensor in SENSORS:
        splits = read(out / "tasks/S12LS-AD/raw" / sensor / "splits.json")
        rows = [
            (path.name, int(xr.open_dataset(path)["MASK"][0].sum()))
            for path in sorted((out / "data/data_raw" / sensor).glob("*.nc"))
        ]
        table = pd.DataFrame(
            [(patch_key(name), count, inventory_of(name)) for name, count in rows],
            columns=["id", "pixel_annotated", "inventory"],
        )
        assert {split: [e["id"] for e in entries] for split, entries in splits.items()} == compat_split(table)
