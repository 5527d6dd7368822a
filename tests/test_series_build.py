"""Series by the rules of Sen12Landslides, and those refused for their gaps, from the command line to the findings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.orders import Order

from pipeline import open_shard
from pipeline.catalog import read_decided
from pipeline.folder import read_recipe
from pipeline.receipts import load_receipt
from pipeline.stages import shards_of
from pipeline.validate import validate
from pipeline.validate.content import check_content

pytest_plugins = ["support.fixtures"]

LENGTH = 9


@pytest.fixture(scope="module")
def compat(small_order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rules = ("series.policy=compat", f"series_length={LENGTH}", "max_cloud=0", "samples_per_shard=2")
    return small_order.with_overrides(*rules).build(tmp_path_factory.mktemp("compat") / "dataset")


def ledger_of(root: Path) -> pd.DataFrame:
    return pq.read_table(root / "ledger.parquet").to_pandas()


def test_padded_frames_are_written_flagged_and_equal_to_the_image_they_repeat(compat: Path) -> None:
    plan = pq.read_table(compat / "plan.parquet").to_pandas().set_index(["sample_id", "modality", "timestep"])
    padded = 0
    for path in sorted((compat / "all").glob("S*/*.zarr.zip")):
        modality = path.parent.name
        with open_shard(path) as shard:
            content = shard.load()
        for position, name in enumerate(content["sample"].values.tolist()):
            sample = content.isel(sample=position)
            for step in range(1, LENGTH):
                if plan.is_padding[name, modality, step]:
                    before, here = sample.isel(time=step - 1), sample.isel(time=step)
                    for variable in ("bands", "time_", "file_id"):
                        np.testing.assert_array_equal(before[variable], here[variable])
                    padded += 1
    assert padded > 0
    ledger = ledger_of(compat)
    assert ledger.is_padding.sum() == plan.is_padding.sum()
    assert set(ledger[ledger.is_padding & (ledger["shard"] != "")].state) == {"written"}


def test_metadata_tells_padded_frames_from_images(compat: Path) -> None:
    frame = pd.read_parquet(compat / "metadata" / "all_metadata.parquet")
    images = frame[~frame.is_padding]
    assert frame.is_padding.any()
    assert not images.duplicated(["sample_id", "time"]).any()
    last = images.sort_values("time").groupby("sample_id").time.last()
    assert all(row.time == last[row.sample_id] for row in frame[frame.is_padding].itertuples())


def test_clouds_are_kept_and_short_series_refused_as_a_whole(compat: Path) -> None:
    ledger = ledger_of(compat)
    optical = ledger[ledger.modality == "S2L2A"]
    assert optical.cloud.max() > 0.25
    whole = optical.groupby("sample_id").state.agg(set)
    assert {frozenset(states) for states in whole} <= {frozenset({"written"}), frozenset({"missing"})}
    descending = ledger[(ledger.modality == "S1DSC") & (ledger.state == "missing")]
    assert set(descending.reason) == {"series_short"}
    assert set(descending.groupby("sample_id").size()) == {LENGTH}


def test_a_dataset_with_padded_series_has_no_findings_and_its_card_explains_them(compat: Path) -> None:
    assert [str(finding) for finding in validate(compat)] == []
    assert "repeats its last image" in (compat / "README.md").read_text(encoding="utf-8")


def test_padding_that_differs_from_the_image_it_repeats_is_found(compat: Path) -> None:
    decided = read_decided(compat)
    shards = shards_of(decided, read_recipe(compat))
    shard = next(s for s in shards if s.modality == "S2L2A" and any(row.is_padding for row in s.rows))
    row = next(row for row in shard.rows if row.is_padding)
    position = [sample.id for sample in shard.samples].index(row.sample_id)
    report = load_receipt(compat / shard.receipt_path)
    with open_shard(compat / shard.path) as lazy:
        content = lazy.load()
    assert check_content(content, shard, report) == []
    content["bands"][position, row.timestep] += 1
    findings = [str(finding) for finding in check_content(content, shard, report)]
    assert any("differs from the image that it repeats" in finding for finding in findings)


def test_a_series_refused_for_its_gaps_is_missing_whole_and_told(small_order: Order, tmp_path: Path) -> None:
    root = small_order.with_overrides("series.max_gap=12").build(tmp_path / "dataset")
    ledger = ledger_of(root)
    refused = ledger[ledger.reason == "gap_too_long"]
    assert len(refused) > 0
    assert set(refused.groupby(["sample_id", "modality"]).size()) == {3}
    assert validate(root) == []
    assert "would lie further apart" in (root / "README.md").read_text(encoding="utf-8")
    for path in (root / "all" / "S1ASC").glob("*.zarr.zip"):
        with open_shard(path) as shard:
            steps = np.diff(shard["time_"].values, axis=1)
        assert (steps[~np.isnat(steps)] < np.timedelta64(13, "D")).all()
