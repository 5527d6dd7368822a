"""Files of labels: what is uncertain in them is neither missing nor a gap to be filled."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.records import DAY, make_grid, make_recipe, rectangle

from pipeline import open_shard
from pipeline.assemble import BuildOptions, build_shard
from pipeline.records import Choice, Event, PlanRow, Reason, Shard, ShardReport, ShardSample

WHOLE = Event(id="all", date=DAY, wkb=rectangle(make_grid()))
HALF = Event(id="half", date=DAY + timedelta(days=10), wkb=rectangle(make_grid(), right=0.45))


class NoSource:
    """Labels are read from nowhere."""

    def sign(self, href: str) -> str:
        raise AssertionError(href)

    def gdal_env(self) -> Mapping[str, str]:
        return {}


def build(
    root: Path, name: str, events: Sequence[Event], moments: Sequence[datetime | None], *sets: str
) -> ShardReport:
    grid = make_grid()
    sample = ShardSample(id="a", grid=grid, lon=15.0, lat=46.0, date=DAY, events=tuple(events))
    rows = [
        PlanRow(
            sample_id="a",
            modality=name,
            timestep=step,
            choice=Choice(acquisition="labels", acquired=moment, file_id="", assets=()) if moment else None,
            reason="" if moment else str(Reason.TOO_CLOUDY),
        )
        for step, moment in enumerate(moments)
    ]
    shard = Shard(
        name="x", split="all", modality=name, bands=(name,), samples=(sample,), rows=tuple(rows), timesteps=len(rows)
    )
    return build_shard(shard, make_recipe(*sets), BuildOptions(root=root, source=NoSource()))


@pytest.mark.parametrize("max_missing", ["null", "0", "0.5"])
def test_a_mask_that_is_uncertain_everywhere_is_written_as_it_is(tmp_path: Path, max_missing: str) -> None:
    moments = [DAY - timedelta(hours=1), DAY + timedelta(hours=10), None, DAY + timedelta(hours=34)]
    report = build(tmp_path, "MASK_SERIES", [WHOLE], moments, f"max_missing={max_missing}")
    assert [(patch.state, patch.reason, patch.filled) for patch in report.patches] == [
        ("written", "", 0.0),
        ("written", "", 0.0),
        ("missing", Reason.TOO_CLOUDY, 0.0),
        ("written", "", 0.0),
    ]
    assert [patch.valid for patch in report.patches] == [1.0, 0.0, 0.0, 1.0]
    with open_shard(tmp_path / "all/MASK_SERIES/x.zarr.zip") as shard:
        bands = shard["bands"].values[0, :, 0]
        times = shard["time_"].values[0]
    assert [np.unique(frame).tolist() for frame in bands] == [[0], [255], [255], [1]]
    assert np.isnat(times).tolist() == [False, False, True, False]
    assert times[1] == np.datetime64((DAY + timedelta(hours=10)).replace(tzinfo=None))


def test_uncertain_pixels_are_never_filled_from_certain_ones(tmp_path: Path) -> None:
    report = build(tmp_path, "MASK_SERIES", [HALF], [HALF.date + timedelta(hours=10)], "max_missing=0.9")
    assert report.patches[0].filled == 0.0
    with open_shard(tmp_path / "all/MASK_SERIES/x.zarr.zip") as shard:
        values = shard["bands"].values[0, 0, 0]
    assert np.unique(values[:, :14]).tolist() == [255]
    assert np.unique(values[:, 16:]).tolist() == [0]


def test_a_later_slide_on_older_ground_does_not_make_it_uncertain(tmp_path: Path) -> None:
    build(tmp_path, "MASK_SERIES", [WHOLE, HALF], [HALF.date + timedelta(hours=10)])
    with open_shard(tmp_path / "all/MASK_SERIES/x.zarr.zip") as shard:
        assert np.unique(shard["bands"].values).tolist() == [1]


def test_the_intervals_of_events_are_part_of_the_plan(tmp_path: Path) -> None:
    told = Event(id="all", date=DAY, wkb=WHOLE.wkb, date_to=DAY + timedelta(days=3))
    moments = [DAY + timedelta(days=2)]
    digests = {build(tmp_path / event.id, "MASK_SERIES", [event], moments).plan_digest for event in (WHOLE, told)}
    assert len(digests) == 2
    with open_shard(tmp_path / "all/all/MASK_SERIES/x.zarr.zip") as shard:
        assert np.unique(shard["bands"].values).tolist() == [255]


def test_shares_and_static_masks_need_no_moment(tmp_path: Path) -> None:
    for name, expected in (("MASK", 32.0 * 15), ("MASK_FRACTION", 32 * 32 * 0.45)):
        build(tmp_path, name, [HALF], [DAY])
        with open_shard(tmp_path / "all" / name / "x.zarr.zip") as shard:
            assert shard["bands"].values.sum() == pytest.approx(expected, abs=0.1)
