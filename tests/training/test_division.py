import json

import numpy as np
import pytest
from support.built import write_samples, write_shards
from support.chunk_files import tree_bytes

from pipeline import grid
from pipeline.errors import LayoutError, PipelineError, RecipeError
from pipeline.splits.blocks import SPLITS, BlockRule, block_splits
from pipeline.splits.folders import read_split
from pipeline.training.division import audit_split, divide_as_published, divide_by_blocks, write_division
from pipeline.training.tables import count_annotated, read_patches

RULE = BlockRule(block=5_120.0, buffer=1_280.0)


def places(prefix="a", count=20, left=500_000.0):
    return {
        f"{prefix}_{row * count + column}": (left + 1280.0 * column, 5_100_000.0 + 1280.0 * row)
        for row in range(count)
        for column in range(count)
    }


def by_place(spots):
    """What each place alone decides."""
    centres = np.array([(left + 640.0, bottom + 640.0) for left, bottom in spots.values()])
    lon, lat = grid.to_lonlat(easting=centres[:, 0], northing=centres[:, 1], epsg=32633)
    return dict(zip(spots, np.array(SPLITS)[block_splits(lon=lon, lat=lat, rule=RULE)], strict=True))


def divide(*roots, name="blocks", rule=RULE):
    tables = read_patches(roots)
    names = divide_by_blocks(tables, rule)
    return write_division(tables, names, name, {"rule": "blocks"}, 6400.0)


def parts_of(root, name="blocks"):
    return {sample: part for part, samples in read_split(root, name).items() for sample in samples}


def test_a_dataset_without_events_is_divided_by_place_alone(tmp_path):
    spots = places()
    root = write_samples(tmp_path / "one", spots, unplaced=["a_7"])
    found = divide(root)
    expected = by_place(spots)
    del expected["a_7"]
    assert parts_of(root) == expected
    assert set(expected.values()) == set(SPLITS)
    assert found.same_event_share is None
    assert found.same_acquisition_share is None
    assert sum((found.patches or {}).values()) == 399
    assert (found.smallest_distance or 0.0) > RULE.buffer
    assert json.loads((root / "splits/blocks/audit.json").read_text()) == found.as_dict()


def test_events_are_kept_together_and_nothing_else_moves(tmp_path):
    spots = places()
    expected = by_place(spots)
    of = {part: [name for name in spots if expected[name] == part] for part in SPLITS}
    tied = {of["train"][0]: ["1@2023-08-01"], of["test"][0]: ["1@2023-08-01"], of["val"][0]: ["2@2023-08-01"]}
    root = write_samples(tmp_path / "one", spots, events=tied, passes={of["test"][1]: ["x"], of["train"][1]: ["x"]})
    found = divide(root)
    assert parts_of(root) == expected | {of["train"][0]: "buffer"}
    assert found.same_event_share == 0.0
    assert found.same_trigger_share == 0.0
    assert found.same_acquisition_share == pytest.approx(1 / len(of["test"]))


def test_datasets_are_divided_together_and_agree_on_what_they_share(tmp_path):
    spots = places()
    expected = by_place(spots)
    test, train = (next(name for name in spots if expected[name] == part) for part in ("test", "train"))
    first = write_samples(tmp_path / "one", spots)
    more = {name: ["1@2023-08-01"] for name in (test, train)}
    second = write_samples(tmp_path / "two", spots | places("b", 4, left=700_000.0), events=more)
    divide(first, second)
    one, two = parts_of(first), parts_of(second)
    assert one == {name: part for name, part in two.items() if name in spots}
    assert one[train] == "buffer"
    assert json.loads((first / "splits/blocks/rule.json").read_text())["datasets"] == ["one", "two"]
    assert (first / "splits/blocks/audit.json").read_bytes() == (second / "splits/blocks/audit.json").read_bytes()


def test_equal_event_numbers_of_other_days_are_other_events(tmp_path):
    spots = places()
    expected = by_place(spots)
    test, train = (next(name for name in spots if expected[name] == part) for part in ("test", "train"))
    first = write_samples(tmp_path / "one", spots, events={test: ["1@2023-08-01"]})
    second = write_samples(tmp_path / "two", spots, events={train: ["1@2021-08-01"]})
    divide(first, second)
    assert parts_of(first)[train] == "train"


def test_a_second_run_writes_the_same_bytes(tmp_path):
    root = write_samples(tmp_path / "one", places())
    divide(root)
    before = tree_bytes(root)
    divide(root)
    assert tree_bytes(root) == before


def test_the_audit_reads_the_split_from_disk(tmp_path):
    root = write_samples(tmp_path / "one", places())
    found = divide(root)
    assert audit_split(read_patches([root]), "blocks", distance=6400.0) == found
    (root / "splits/blocks/test.txt").write_text("stranger\n")
    with pytest.raises(LayoutError, match="names patch stranger"):
        audit_split(read_patches([root]), "blocks", distance=6400.0)


def test_no_train_or_test_patch_is_an_error_and_nothing_is_written(tmp_path):
    root = write_samples(tmp_path / "one", places(count=2))
    with pytest.raises(PipelineError, match=r"none of the 4 patches is in (train|test), nothing is written"):
        divide(root)
    assert not (root / "splits").exists()


def test_the_published_rule_counts_the_masks(tmp_path):
    names = [f"a_{number}" for number in range(60)]
    root = write_samples(tmp_path / "one", dict(zip(names, places().values(), strict=False)))
    rng = np.random.default_rng(0)
    masks = {name: (rng.random((1, 1, 16, 16)) < 0.2).astype(np.uint8) for name in names}
    write_shards(root, "MASK", masks, [names])
    tables = read_patches([root])
    counted = count_annotated(tables)
    assert counted.pixel_annotated.tolist() == [int(masks[name].sum()) for name in names]
    assert set(counted.inventory) == {"here"}
    split = divide_as_published(tables)
    assert {part: int((split == part).sum()) for part in SPLITS} == {"buffer": 0, "train": 38, "val": 10, "test": 12}


def test_what_is_refused(tmp_path):
    root = write_samples(tmp_path / "one", places(count=2))
    with pytest.raises(RecipeError, match="named twice"):
        read_patches([root, tmp_path / "one" / ".." / "one"])
    with pytest.raises(LayoutError, match="is not a folder"):
        read_patches([tmp_path / "none"])
    with pytest.raises(LayoutError, match=r"samples\.parquet does not exist"):
        read_patches([tmp_path])
    with pytest.raises(LayoutError, match="the compat rule goes by the pixels of the mask"):
        count_annotated(read_patches([root]))
