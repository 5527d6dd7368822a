"""Receipts: a shard is done only if plan, receipt and file agree."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_choice, make_grid, make_recipe, make_sample

from pipeline.errors import LayoutError
from pipeline.layouts.ssl4eo import file_digest
from pipeline.receipts import find_receipt, load_receipt, plan_digest, save_receipt
from pipeline.records import Event, Moments, PatchReport, PlanRow, Reason, Shard, ShardReport, ShardSample

RECIPE = make_recipe()
SAMPLE = make_sample()
EVENT = Event(id="e", date=DAY, wkb=b"\x01\x02")
PLACE = ShardSample(id="a", grid=SAMPLE.grid, lon=SAMPLE.lon, lat=SAMPLE.lat, date=DAY, events=(EVENT,))
ROW = PlanRow(sample_id="a", modality="S2L2A", timestep=0, choice=make_choice("p", cloud=0.1))
SHARD = Shard(
    name="landslides_all_000001",
    split="all",
    modality="S2L2A",
    bands=("B02", "B03"),
    samples=(PLACE,),
    rows=(ROW,),
    timesteps=1,
)
DIGEST = plan_digest(SHARD, RECIPE)


def choose(**changes: Any) -> Shard:
    assert ROW.choice is not None
    return replace(SHARD, rows=(replace(ROW, choice=replace(ROW.choice, **changes)),))


CHANGES = {
    "name": replace(SHARD, name="landslides_all_000002"),
    "split": replace(SHARD, split="val"),
    "modality": replace(SHARD, modality="SCL"),
    "order of bands": replace(SHARD, bands=("B03", "B02")),
    "timesteps": replace(SHARD, timesteps=2),
    "no rows": replace(SHARD, rows=()),
    "sample": replace(SHARD, samples=(replace(PLACE, id="b"),)),
    "grid": replace(SHARD, samples=(replace(PLACE, grid=make_grid(top=5_100_010.0)),)),
    "centre": replace(SHARD, samples=(replace(PLACE, lon=15.5),)),
    "no date": replace(SHARD, samples=(replace(PLACE, date=None),)),
    "event's outline": replace(SHARD, samples=(replace(PLACE, events=(replace(EVENT, wkb=b"\x01\x03"),)),)),
    "event's date": replace(SHARD, samples=(replace(PLACE, events=(replace(EVENT, date=DAY + timedelta(days=1)),)),)),
    "acquisition": choose(acquisition="q"),
    "second": choose(acquired=DAY + timedelta(microseconds=1)),
    "offset": choose(assets=(replace(make_choice("p").assets[0], offset=-1000),)),
    "reference": choose(assets=(replace(make_choice("p").assets[0], hrefs=("/other.tif",)),)),
    "gap": replace(SHARD, rows=(replace(ROW, choice=None, reason=Reason.NO_SCENE),)),
    "alternates": replace(SHARD, rows=(replace(ROW, alternates=(make_choice("q"),)),)),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_any_change_of_the_plan_changes_its_digest(changed: Shard) -> None:
    assert plan_digest(changed, RECIPE) != DIGEST


@pytest.mark.parametrize("override", ["seed=7", "resampling.S2L2A=bilinear", "max_cloud=0.3", "bands={S2L2A: [B02]}"])
def test_any_change_of_the_recipe_changes_the_digest(override: str) -> None:
    assert plan_digest(SHARD, make_recipe(override)) != DIGEST


def test_equal_plans_have_one_digest_in_every_process() -> None:
    assert plan_digest(replace(SHARD), make_recipe()) == DIGEST
    assert len(DIGEST) == 64
    assert set(DIGEST) <= set("0123456789abcdef")


def whole_report(root: Path, content: bytes = b"the file") -> ShardReport:
    """Write the file and its receipt."""
    file = root / SHARD.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    report = ShardReport(
        path=SHARD.path,
        plan_digest=DIGEST,
        state="done",
        sha256=file_digest(file),
        bytes=len(content),
        seconds=1.25,
        patches=(PatchReport(sample_id="a", timestep=0, state="written", scene_ids=("s",), valid=0.5, cloud=0.1),),
        moments=(Moments(count=2, mean=1.5, m2=0.5, minimum=1.0, maximum=2.0), Moments()),
    )
    save_receipt(root / SHARD.receipt_path, report)
    return report


def test_a_whole_shard_is_found_with_its_report(tmp_path: Path) -> None:
    report = whole_report(tmp_path)
    assert find_receipt(tmp_path, SHARD, DIGEST) == report


def test_a_file_without_a_receipt_proves_nothing(tmp_path: Path) -> None:
    whole_report(tmp_path)
    (tmp_path / SHARD.receipt_path).unlink()
    assert find_receipt(tmp_path, SHARD, DIGEST) is None


def test_a_receipt_without_its_file_proves_nothing(tmp_path: Path) -> None:
    whole_report(tmp_path)
    (tmp_path / SHARD.path).unlink()
    assert find_receipt(tmp_path, SHARD, DIGEST) is None


def test_a_receipt_of_another_plan_does_not_count(tmp_path: Path) -> None:
    whole_report(tmp_path)
    assert find_receipt(tmp_path, SHARD, plan_digest(SHARD, make_recipe("seed=7"))) is None


@pytest.mark.parametrize("content", [b"", b"the fil", b"the File", b"the file "])
def test_a_file_that_was_changed_does_not_count(tmp_path: Path, content: bytes) -> None:
    whole_report(tmp_path)
    (tmp_path / SHARD.path).write_bytes(content)
    assert find_receipt(tmp_path, SHARD, DIGEST) is None


def test_an_unfinished_shard_does_not_count(tmp_path: Path) -> None:
    report = whole_report(tmp_path)
    save_receipt(tmp_path / SHARD.receipt_path, replace(report, state="unfinished"))
    assert find_receipt(tmp_path, SHARD, DIGEST) is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"path": 1}'])
def test_a_damaged_receipt_does_not_count_and_says_what_to_do(tmp_path: Path, text: bytes) -> None:
    whole_report(tmp_path)
    receipt = tmp_path / SHARD.receipt_path
    receipt.write_bytes(text)
    assert find_receipt(tmp_path, SHARD, DIGEST) is None
    with pytest.raises(LayoutError, match=rf"^receipt {receipt} is damaged; build again with --resume$"):
        load_receipt(receipt)


def test_every_cut_of_a_receipt_is_damage(tmp_path: Path) -> None:
    whole_report(tmp_path)
    receipt = tmp_path / SHARD.receipt_path
    text = receipt.read_bytes()
    for length in range(0, len(text) - 1, 7):
        receipt.write_bytes(text[:length])
        assert find_receipt(tmp_path, SHARD, DIGEST) is None


def test_a_receipt_is_replaced_in_one_step(tmp_path: Path) -> None:
    report = whole_report(tmp_path)
    save_receipt(tmp_path / SHARD.receipt_path, replace(report, seconds=2.0))
    folder = (tmp_path / SHARD.receipt_path).parent
    assert [file.name for file in folder.iterdir()] == ["landslides_all_000001.json"]
    assert load_receipt(tmp_path / SHARD.receipt_path).seconds == 2.0


floats = st.floats(allow_nan=False)
moments = st.builds(
    Moments, count=st.integers(0, 2**53), mean=floats, m2=floats, minimum=floats, maximum=floats
) | st.just(Moments())
patches = st.builds(
    PatchReport,
    sample_id=st.text(),
    timestep=st.integers(0, 999),
    state=st.sampled_from(["written", "missing"]),
    reason=st.sampled_from(["", *map(str, Reason)]),
    detail=st.text(),
    scene_ids=st.lists(st.text(), max_size=3).map(tuple),
    valid=st.floats(0, 1),
    cloud=st.none() | floats,
)


@given(
    st.builds(
        ShardReport,
        path=st.text(),
        plan_digest=st.text(),
        state=st.sampled_from(["done", "unfinished"]),
        bytes=st.integers(0, 2**40),
        seconds=st.floats(0, 1e6),
        patches=st.lists(patches, max_size=3).map(tuple),
        moments=st.lists(moments, max_size=3).map(tuple),
        error=st.text(),
    )
)
def test_any_report_comes_back_from_its_receipt(tmp_path_factory: pytest.TempPathFactory, report: ShardReport) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.json"
    save_receipt(path, report)
    assert load_receipt(path) == report


def test_a_receipt_with_a_band_without_a_valid_pixel_counts(tmp_path: Path) -> None:
    report = replace(whole_report(tmp_path), moments=(Moments(), Moments()))
    save_receipt(tmp_path / SHARD.receipt_path, report)
    assert find_receipt(tmp_path, SHARD, DIGEST) == report
