"""After a repair, bands, file_id and time_ of every image belong together, and nothing else has changed."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chunk_files import (
    FILES,
    S1_DAYS,
    change_array,
    compact,
    content,
    edited,
    name_of,
    s1_id,
    times,
    tree_bytes,
    with_published_fault,
    write_folder,
)

from pipeline import open_shard
from pipeline.errors import LayoutError, RecipeError
from pipeline.layouts.ssl4eo import Store, write_shard
from pipeline.published import check_folder, repair_folder
from pipeline.published.standard import misordered, stamps_of

RADAR = f"train/S1GRD/{name_of('000002')}"
S2_STEPS = np.timedelta64(91, "D")


@pytest.mark.parametrize("store", ["chunked", "published"])
def test_a_repair_gives_the_folder_without_the_fault(tmp_path, store):
    faulty = write_folder(tmp_path / "faulty", store=store, faulty=["000002"])
    right = write_folder(tmp_path / "right", store=store)
    before = tree_bytes(faulty)
    done = repair_folder(faulty, tmp_path / "out")
    assert [str(line) for line in done.repaired] == [f"{RADAR}: put in order: 2 samples (first: 0179869)"]
    assert (done.left, done.copied) == ((), 9)
    assert tree_bytes(tmp_path / "out") == tree_bytes(right)
    assert tree_bytes(faulty) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faulty", "out", "right"]


def test_a_repair_gives_the_same_bytes_every_time(tmp_path):
    faulty = write_folder(tmp_path / "faulty", faulty=list(FILES))
    for out in ("one", "two"):
        repair_folder(faulty, tmp_path / out)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")
    again = repair_folder(tmp_path / "one", tmp_path / "three")
    assert (again.repaired, again.copied) == ((), 10)


Image = tuple[str, np.datetime64]
"""Satellite and when."""
moments = st.integers(0, 500_000_000).map(lambda seconds: np.datetime64("2014-10-01T00:00:00") + seconds)
series = st.lists(st.tuples(st.sampled_from("ABC"), moments), min_size=4, max_size=4, unique_by=lambda image: image[1])


def radar_file(path: Path, samples: list[list[Image]], *, is_published: bool, store: Store) -> set[int]:
    """Write images whose pixels tell which acquisition they are; returns the samples whose times are another's."""
    right = content("S1GRD", [f"{number:07d}" for number in range(len(samples))], store)
    for number, images in enumerate(samples):
        right.file_ids[number] = [s1_id(*image) for image in images]
        right.times[number] = times([moment for _, moment in images])
        right.bands[number] = np.arange(4, dtype="float16").reshape(4, 1, 1, 1) + 10 * number
    order = np.argsort(right.times, axis=1)
    ascending = replace(
        right,
        bands=np.take_along_axis(right.bands, order[..., None, None, None], axis=1),
        file_ids=np.take_along_axis(right.file_ids, order, axis=1),
        times=np.take_along_axis(right.times, order, axis=1),
    )
    write_shard(path, with_published_fault(ascending) if is_published else right)
    by_name = [sorted(images) for images in samples]
    by_time = [sorted(images, key=lambda image: image[1]) for images in samples]
    return {number for number in range(len(samples)) if by_name[number] != by_time[number]} if is_published else set()


@settings(max_examples=20)
@given(
    st.lists(series, min_size=1, max_size=3),
    st.lists(series, min_size=1, max_size=2),
    st.sampled_from(["chunked", "published"]),
)
def test_bands_file_id_and_time_agree_after_repair_and_exactly_the_faulty_are_flagged(published, sound, store):
    with TemporaryDirectory() as temporary:
        root, out = Path(temporary, "dataset"), Path(temporary, "out")
        paths = [root / "train" / "S1GRD" / name_of(number) for number in FILES]
        faulty = [
            radar_file(paths[0], published, is_published=True, store=store),
            radar_file(paths[1], sound, is_published=False, store=store),
        ]
        found = {finding.where: finding.what for finding in check_folder(root)}
        assert list(found) == [paths[0].relative_to(root).as_posix()] * bool(faulty[0])
        assert all(f"in {len(faulty[0])} of {len(published)} samples" in what for what in found.values())

        done = repair_folder(root, out)
        assert [line.where for line in done.repaired] == list(found)
        assert check_folder(out) == []
        for path, samples, wrong in zip(paths, (published, sound), faulty, strict=True):
            assert_images_belong_together(out / path.relative_to(root), samples, wrong)
        assert (out / paths[1].relative_to(root)).read_bytes() == paths[1].read_bytes()


def assert_images_belong_together(path: Path, samples: list[list[Image]], repaired: set[int]) -> None:
    with open_shard(path) as shard:
        for number, images in enumerate(samples):
            here = shard.isel(sample=number)
            acquisitions = (here["bands"].values[:, 0, 0, 0] - 10 * number).astype(int)
            assert (here["bands"].values == here["bands"].values[:, :1, :1, :1]).all()
            wanted = [(s1_id(*images[index]), images[index][1]) for index in acquisitions]
            assert list(zip(here["file_id"].values, here["time_"].values, strict=True)) == wanted
            assert [str(name) for name in here["sample_id"].values] == [f"{number:07d}_{step}" for step in range(4)]
            if number in repaired:
                assert (np.diff(here["time_"].values) > np.timedelta64(0)).all()


@given(series, st.permutations(range(4)))
def test_any_other_order_of_times_is_the_fault(images, order):
    ids = np.array([[s1_id(*image) for image in images]])
    moved = times([images[index][1] for index in order])[None]
    assert misordered(ids, moved, "S1GRD").tolist() == [order != sorted(order)]


@given(st.permutations(range(4)), st.lists(st.integers(-400_000, 400_000), min_size=4, max_size=4))
def test_ascending_order_is_the_closest_pairing_with_ascending_optical_dates(order, offsets):
    optical = np.datetime64("2020-01-20", "s") + np.arange(4) * S2_STEPS
    radar = optical + np.array(offsets, "timedelta64[s]") * 20
    gaps = [np.abs(held - optical).sum() for held in (np.sort(radar), radar[list(order)])]
    assert gaps[0] <= gaps[1]


def test_wrong_times_are_taken_from_file_id(tmp_path):
    root = write_folder(tmp_path / "dataset")
    for day in (-1, 0):
        change_array(root / RADAR, "time_", lambda values, day=day: put(values, (1, 2), day * 86_400 * 10**9))
    repair_folder(root, tmp_path / "out")
    with open_shard(tmp_path / "out" / RADAR) as shard:
        assert (shard["time_"].values == times([day for _, day in S1_DAYS])).all()
    assert check_folder(tmp_path / "out") == []


def put(values, index, value):
    values[index] = value
    return values


def test_times_keep_the_units_of_their_file(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    units = {"units": "seconds since 2015-01-01", "calendar": "proleptic_gregorian"}
    start = np.datetime64("2015-01-01", "ns").astype(int)
    change_array(root / RADAR, "time_", lambda values: (values - start) // 10**9, attributes=units)
    with open_shard(root / RADAR) as shard:
        assert shard["time_"].values[0, 0] == np.datetime64(S1_DAYS[0][1])
    repair_folder(root, tmp_path / "out")
    with open_shard(tmp_path / "out" / RADAR) as shard:
        assert (shard["time_"].values == times([day for _, day in S1_DAYS])).all()
        assert shard["time_"].encoding["units"] == units["units"]


def test_times_may_be_stored_as_fractions_of_days(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    units = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian"}
    change_array(root / RADAR, "time_", lambda values: values / (86_400 * 10**9), attributes=units)
    repair_folder(root, tmp_path / "out")
    assert check_folder(tmp_path / "out") == []


def test_a_file_without_any_time_cannot_be_repaired(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    change_array(root / RADAR, "time_", lambda values: np.full_like(values, np.iinfo("int64").min))
    with pytest.raises(LayoutError, match="has no time at all in time_; a repair needs one to count from"):
        repair_folder(root, tmp_path / "out")


def test_units_that_cannot_hold_the_times_are_refused_and_nothing_is_left_behind(tmp_path):
    root = write_folder(tmp_path / "dataset")
    units = {"units": "days since 2015-01-01", "calendar": "proleptic_gregorian"}
    change_array(root / RADAR, "time_", lambda values: values // (86_400 * 10**9) - 16436, attributes=units)
    with pytest.raises(LayoutError, match=r"its time units, days since 2015-01-01, cannot hold whole seconds"):
        repair_folder(root, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_samples_whose_names_carry_no_time_are_left_and_named(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    change_array(root / RADAR, "file_id", lambda values: put(values, (1, 0), "unknown"))
    done = repair_folder(root, tmp_path / "out")
    assert [str(line) for line in done.repaired] == [f"{RADAR}: put in order: 1 samples (first: 0179869)"]
    assert [str(line) for line in done.left] == [f"{RADAR}: left, no time in file_id: 1 samples (first: 0012333)"]
    with open_shard(root / RADAR) as before, open_shard(tmp_path / "out" / RADAR) as after:
        assert before.isel(sample=1).identical(after.isel(sample=1))


def test_missing_images_stay_where_they_are(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    change_array(root / RADAR, "file_id", lambda values: put(values, (0, 1), ""))
    change_array(root / RADAR, "time_", lambda values: put(values, (0, 1), np.iinfo("int64").min))
    repair_folder(root, tmp_path / "out")
    with open_shard(tmp_path / "out" / RADAR) as shard:
        names, held = shard["file_id"].values[:1], shard["time_"].values[:1]
    assert names[0, 1] == ""
    assert np.array_equal(stamps_of(names, "S1GRD"), held, equal_nan=True)
    assert (np.diff(held[0, [0, 2, 3]]) > np.timedelta64(0)).all()


def test_a_missing_image_gets_its_missing_time_back(tmp_path):
    root = write_folder(tmp_path / "dataset", faulty=["000002"])
    change_array(root / RADAR, "file_id", lambda values: put(values, (0, 0), ""))
    change_array(root / RADAR, "time_", lambda values: put(values, (0, 1), np.iinfo("int64").min))
    repair_folder(root, tmp_path / "out")
    with open_shard(tmp_path / "out" / RADAR) as shard:
        names, held = shard["file_id"].values[0], shard["time_"].values[0]
    days = [S1_DAYS[0][1], S1_DAYS[2][1], S1_DAYS[3][1]]
    assert (names[0], np.isnat(held[0])) == ("", True)
    assert [name[17:32] for name in names[1:]] == [compact(day) for day in days]
    assert (held[1:] == times(days)).all()


@pytest.mark.parametrize("fault", ["truncated", "twice", "no chunk", "no variable"])
def test_a_broken_radar_file_stops_the_repair_before_anything_is_written(tmp_path, fault):
    root = write_folder(tmp_path / "dataset", faulty=["000001"])
    path = root / RADAR
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif fault == "twice":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("file_id/0.0", archive.read("file_id/0.0"))
    else:
        with edited(path) as entries:
            for name in [name for name in entries if name.startswith("crs/" if fault == "no variable" else "crs/0")]:
                del entries[name]
    with pytest.raises(LayoutError, match=f"{name_of('000002')} .*") as raised:
        repair_folder(root, tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert [held.name for held in tmp_path.iterdir()] == ["dataset"]


def test_an_existing_folder_is_refused_unless_it_is_empty(original, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for out in ("out", "file"):
        with pytest.raises(RecipeError, match=rf"{out} exists and is not an empty folder"):
            repair_folder(original, tmp_path / out)
    (tmp_path / "empty").mkdir()
    repair_folder(original, tmp_path / "empty")
    assert tree_bytes(tmp_path / "empty") == tree_bytes(original)
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"


def test_a_folder_inside_the_original_is_refused(folder):
    before = tree_bytes(folder)
    with pytest.raises(RecipeError, match="lies inside"):
        repair_folder(folder, folder / "repaired")
    assert tree_bytes(folder) == before


def test_hidden_files_are_not_copied(folder, tmp_path):
    shutil.copytree(folder / "splits", folder / ".cache" / "splits")
    repair_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out" / ".cache").exists()
