import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from support.built import write_shards, write_tables

from pipeline.errors import LayoutError, RecipeError
from pipeline.records import S2_NODATA
from pipeline.splits.folders import write_split
from pipeline.training.norms import NormRule, split_norm

NAMES = ("a_1", "a_2", "a_3", "a_4", "a_5", "a_6")
TRAIN = ("a_1", "a_2", "a_4", "a_6")
FILES = (NAMES[:4], NAMES[4:])
SIZE, STEPS = 5, 3


def optical():
    """int16 (time, band, y, x) of each sample: a tenth without data, one image without any."""
    rng = np.random.default_rng(7)
    images = {name: rng.integers(-50, 12_000, (STEPS, 12, SIZE, SIZE)).astype(np.int16) for name in NAMES}
    for values in images.values():
        values[rng.random(values.shape) < 0.1] = S2_NODATA
    images["a_2"][1] = S2_NODATA
    return images


def radar():
    rng = np.random.default_rng(8)
    images = {name: rng.normal(-13.0, 5.0, (STEPS, 2, SIZE, SIZE)).astype(np.float32) for name in NAMES}
    for values in images.values():
        values[rng.random(values.shape) < 0.1] = np.nan
    return images


def masks():
    rng = np.random.default_rng(9)
    return {name: rng.integers(0, 7, (STEPS, SIZE, SIZE)).astype(np.uint8) for name in NAMES}


STEPS_OF = {"S2L2A": STEPS, "S1ASC": STEPS, "DEM": 1, "SCL": STEPS, "MASK": 1}


def elevation():
    return {name: np.full((1, 1, SIZE, SIZE), 100.0 + number, np.float32) for number, name in enumerate(NAMES)}


def dataset(root, files=FILES, store="chunked", **tables):
    write_shards(root, "S2L2A", optical(), files, masks=masks(), store=store)
    write_shards(root, "S1ASC", radar(), files, store=store)
    write_shards(root, "DEM", elevation(), files, store=store)
    write_tables(root, files, STEPS_OF, **tables)
    write_split(root, "mine", {"train": TRAIN, "test": [name for name in NAMES if name not in TRAIN]}, {})
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("norms") / "dataset")


def check(found, values, band):
    """Compare with NumPy's answer in double precision over all pixels at once."""
    flat = np.concatenate([part.ravel() for part in values]).astype(np.float64)
    assert found["count"] == flat.size, band
    assert (found["min"], found["max"]) == (flat.min(), flat.max())
    np.testing.assert_allclose([found["mean"], found["std"]], [flat.mean(), flat.std()], rtol=1e-12)


def test_valid_pixels_of_train_patches_are_counted(built):
    norm = split_norm(built, "mine", NormRule())
    assert {key: norm[key] for key in ("split", "rule", "clear", "patches")} == {
        "split": "mine", "rule": "valid", "clear": False, "patches": 4,
    }  # fmt: skip
    assert list(norm["modalities"]) == ["S2L2A", "S1ASC", "DEM"]
    for number, (band, found) in enumerate(norm["modalities"]["S2L2A"].items()):
        values = [optical()[name][:, number] for name in TRAIN]
        check(found, [part[part != S2_NODATA] for part in values], band)
    for number, (band, found) in enumerate(norm["modalities"]["S1ASC"].items()):
        values = [radar()[name][:, number] for name in TRAIN]
        check(found, [part[~np.isnan(part)] for part in values], band)
    assert norm["modalities"]["DEM"]["DEM"]["mean"] == np.mean([100.0, 101.0, 103.0, 105.0])


def test_clear_leaves_out_optical_pixels_under_clouds(built):
    norm, plain = (split_norm(built, "mine", NormRule(clear=clear))["modalities"] for clear in (True, False))
    for number, (band, found) in enumerate(norm["S2L2A"].items()):
        values = [optical()[name][:, number] for name in TRAIN]
        seen = [masks()[name] <= 2 for name in TRAIN]
        check(found, [part[(part != S2_NODATA) & view] for part, view in zip(values, seen, strict=True)], band)
    assert (norm["S1ASC"], norm["DEM"]) == (plain["S1ASC"], plain["DEM"])


def filled(image, valid):
    """(y, x) with gaps as the published writer fills them."""
    where = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return image[tuple(where)]


def test_the_published_rule_counts_every_pixel_of_images_that_are_there(built):
    norm = split_norm(built, "mine", NormRule(rule="compat"))["modalities"]
    images = [optical()[name][step, 3] for name in TRAIN for step in range(STEPS)]
    images = [filled(image, image != S2_NODATA) for image in images if (image != S2_NODATA).any()]
    assert len(images) == len(TRAIN) * STEPS - 1
    check(norm["S2L2A"]["B04"], images, "B04")
    images = [radar()[name][step, 1] for name in TRAIN for step in range(STEPS)]
    check(norm["S1ASC"]["vh"], [filled(image, ~np.isnan(image)) for image in images], "vh")


def test_padding_and_missing_images(tmp_path):
    states = {("a_4", "S2L2A", 0): "missing"}
    root = dataset(tmp_path / "dataset", states=states, padding=[("a_1", "S2L2A", 2)])
    values = {(name, step): optical()[name][step, 0] for name in TRAIN for step in range(STEPS)}
    del values["a_4", 0]
    compat = split_norm(root, "mine", NormRule(rule="compat"))["modalities"]["S2L2A"]["B01"]
    assert compat["count"] == (len(values) - 1) * SIZE * SIZE
    del values["a_1", 2]
    valid = split_norm(root, "mine", NormRule())["modalities"]["S2L2A"]["B01"]
    check(valid, [part[part != S2_NODATA] for part in values.values()], "B01")


@settings(max_examples=6)
@given(st.permutations(NAMES), st.integers(1, 6), st.sampled_from(["chunked", "published"]))
def test_order_files_and_chunks_change_no_bit(built, tmp_path_factory, order, per_file, store):
    files = [order[start : start + per_file] for start in range(0, len(order), per_file)]
    other = dataset(tmp_path_factory.mktemp("other"), files, store)
    for rule in (NormRule(), NormRule(clear=True), NormRule(rule="compat")):
        assert json.dumps(split_norm(other, "mine", rule)) == json.dumps(split_norm(built, "mine", rule))


def test_a_band_without_data_has_no_mean(tmp_path):
    root = tmp_path / "dataset"
    empty = {name: np.full((1, 2, SIZE, SIZE), np.nan, np.float32) for name in NAMES}
    write_shards(root, "S1ASC", empty, FILES)
    write_tables(root, FILES, {"S1ASC": 1})
    write_split(root, "mine", {"train": TRAIN}, {})
    for rule in (NormRule(), NormRule(rule="compat")):
        found = split_norm(root, "mine", rule)["modalities"]["S1ASC"]["vv"]
        assert found == {"count": 0, "mean": None, "std": None, "min": None, "max": None}


def test_what_is_refused(tmp_path, built):
    with pytest.raises(RecipeError, match="drop --clear"):
        NormRule(rule="compat", clear=True)
    with pytest.raises(LayoutError, match="no split other"):
        split_norm(built, "other", NormRule())
    root = dataset(tmp_path / "dataset", states={("a_4", "S2L2A", 0): "unfinished"})
    with pytest.raises(LayoutError, match="1 images of train patches are unfinished"):
        split_norm(root, "mine", NormRule())
    write_tables(root, FILES, STEPS_OF)
    write_split(root, "strange", {"train": ["b_1"]}, {})
    with pytest.raises(LayoutError, match="holds no patch b_1"):
        split_norm(root, "strange", NormRule())
    write_split(root, "empty", {"test": ["a_1"]}, {})
    with pytest.raises(RecipeError, match="no train patches"):
        split_norm(root, "empty", NormRule())
    (root / "all/S1ASC/file_1.zarr.zip").write_bytes(b"PK")
    with pytest.raises(LayoutError, match="file_1"):
        split_norm(root, "mine", NormRule())
