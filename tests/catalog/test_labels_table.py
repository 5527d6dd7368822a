"""labels.parquet: one row for each event of each patch, paired with its place and with the images around it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import shapely
from rasterio.features import rasterize
from support.records import DAY, make_choice, make_grid, make_recipe, make_sample, rectangle

from pipeline.catalog import Decided
from pipeline.catalog.labels import labels_table
from pipeline.plan.packing import Place, make_shards, pack
from pipeline.records import Event, PatchReport, PlanRow, Reason, Sample, Shard, ShardReport

RECIPE = make_recipe("series_length=4", "modalities=[S2L2A, SCL, S1DSC, DEM, MASK]", "bands.S2L2A=[B04]")
NOON = timedelta(hours=12)
HERE = make_grid()


def slide(name: str, day: int = 0, **changes: object) -> Event:
    """A quarter of the patch, from its lower left corner and outwards."""
    polygon = rectangle(HERE, left=-0.5, right=0.5, bottom=-0.5, top=0.5)
    return Event(**{"id": name, "date": DAY + timedelta(days=day), "wkb": polygon, **changes})


def series(sample: Sample, modality: str, days: Sequence[float | None], **changes: object) -> list[PlanRow]:
    return [
        PlanRow(sample_id=sample.id, modality=modality, timestep=step, choice=None, reason=Reason.SERIES_SHORT)
        if day is None
        else PlanRow(
            sample_id=sample.id,
            modality=modality,
            timestep=step,
            choice=make_choice(f"p{step}", DAY + timedelta(days=day)),
            **changes,
        )
        for step, day in enumerate(days)
    ]


def decide(samples: Sequence[Sample], events: Sequence[Event], rows: Sequence[PlanRow]) -> Decided:
    return Decided(
        samples=tuple(samples),
        events=tuple(events),
        scenes=(),
        scores=(),
        rows=tuple(rows),
        places=pack(list(samples), RECIPE),
    )


def table_of(decided: Decided, *, lost: Sequence[tuple[str, int]] = ()) -> pa.Table:
    """The table where everything planned was written but what is `lost`."""
    shards = make_shards(
        decided.samples, {event.id: event for event in decided.events}, decided.places, decided.rows, RECIPE
    )
    return labels_table(decided, shards, [report_of(shard, lost) for shard in shards])


def report_of(shard: Shard, lost: Sequence[tuple[str, int]]) -> ShardReport:
    patches = tuple(
        PatchReport(
            sample_id=row.sample_id,
            timestep=row.timestep,
            state="written" if row.choice and (shard.modality, row.timestep) not in lost else "missing",
        )
        for row in shard.rows
    )
    return ShardReport(path=shard.path, plan_digest="", state="done", patches=patches)


def sample_with(*events: Event, name: str = "a", **changes: object) -> Sample:
    return make_sample(name, event_ids=tuple(event.id for event in events), **changes)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((-9, -3, 2, 8), (1, 2)),
        ((-9.5, -3, 0.4, 8), (1, 3)),
        ((0.4, 0.6, 2, 8), (-1, 2)),
        ((-9, -3, -2, 0.4), (2, -1)),
        ((-9, None, 3, None), (0, 2)),
    ],
)
def test_images_of_the_events_own_day_are_neither_before_nor_after(
    days: Sequence[float | None], expected: tuple[int, int]
) -> None:
    event = slide("e")
    sample = sample_with(event)
    (row,) = table_of(decide([sample], [event], series(sample, "S2L2A", days))).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == expected


def test_images_within_the_interval_of_the_date_are_neither() -> None:
    event = slide("e", date_from=DAY - timedelta(days=5), date_to=DAY + timedelta(days=5), confidence=0.43)
    sample = sample_with(event)
    (row,) = table_of(decide([sample], [event], series(sample, "S2L2A", (-5.5, -3.5, 4.5, 5.5)))).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == (0, 3)
    assert (row["date_from"], row["date_to"], row["confidence"]) == (event.date_from, event.date_to, 0.43)


def test_only_images_that_were_written_count() -> None:
    event = slide("e")
    sample = sample_with(event)
    decided = decide([sample], [event], series(sample, "S2L2A", (-9, -3, 2, 8)))
    (row,) = table_of(decided, lost=[("S2L2A", 1), ("S2L2A", 2)]).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == (0, 3)


def test_an_image_that_fills_up_a_series_does_not_count_twice() -> None:
    event = slide("e")
    sample = sample_with(event)
    rows = series(sample, "S2L2A", (-9, -3, -3, -3))
    rows[2:] = [replace(row, is_padding=True) for row in rows[2:]]
    (row,) = table_of(decide([sample], [event], rows)).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == (1, -1)


def test_each_series_of_images_in_the_dataset_has_its_own_columns() -> None:
    event = slide("e")
    sample = sample_with(event)
    rows = [
        *series(sample, "S2L2A", (-9, -3, 2, 8)),
        *series(sample, "SCL", (-9, -3, 2, 8)),
        *series(sample, "S1DSC", (-3, 2, None, None)),
        *series(sample, "DEM", (-900,)),
        *series(sample, "MASK", (0,)),
    ]
    table = table_of(decide([sample], [event], rows))
    assert table.column_names[13:] == ["before_S2L2A", "after_S2L2A", "before_S1DSC", "after_S1DSC"]
    assert table.to_pylist()[0] | {"before_S1DSC": 0, "after_S1DSC": 1} == table.to_pylist()[0]


def test_without_reflectance_the_classification_stands_for_its_images() -> None:
    event = slide("e")
    sample = sample_with(event)
    (row,) = table_of(decide([sample], [event], series(sample, "SCL", (-9, -3, 2, 8)))).to_pylist()
    assert (row["before_SCL"], row["after_SCL"]) == (1, 2)


def test_one_row_is_one_event_by_sample_date_and_id() -> None:
    late, early, twin = slide("b", 4), slide("z", -4), slide("a", 4, confidence=1.0, region="hill")
    second, first = sample_with(late, early, twin, name="2"), sample_with(late, name="1")
    rows = [*series(second, "S2L2A", (-9, -3, 2, 8)), *series(first, "S2L2A", (-9, 2, 5, 8))]
    table = table_of(decide([second, first], [late, early, twin], rows))
    assert [(row["sample_id"], row["event_id"], row["after_S2L2A"]) for row in table.to_pylist()] == [
        ("2", "z", 1),
        ("2", "a", 3),
        ("2", "b", 3),
        ("1", "b", 2),
    ]
    assert table["confidence"].to_pylist() == [None, 1.0, None, None]
    assert table["region"].to_pylist() == ["", "hill", "", ""]


def test_a_sample_that_is_in_no_file_has_no_labels() -> None:
    event = slide("e")
    sample = sample_with(event)
    decided = decide([sample], [event], series(sample, "S2L2A", (-9, -3, 2, 8)))
    nowhere = replace(decided, places={"a": Place(split="", shard="", position=-1)})
    assert table_of(nowhere).num_rows == 0


def test_the_part_inside_the_patch_is_measured() -> None:
    event = slide("e")
    sample = sample_with(event)
    (row,) = table_of(decide([sample], [event], series(sample, "S2L2A", (-9, -3, 2, 8)))).to_pylist()
    left, bottom, _, _ = HERE.bounds
    # The edges of the rectangle are straight in degrees and all but straight in metres.
    assert (row["left"], row["bottom"]) == (left, bottom)
    assert (row["right"], row["top"]) == (pytest.approx(left + 160, abs=0.01), pytest.approx(bottom + 160, abs=0.01))
    assert row["area"] == pytest.approx(160.0**2, rel=1e-4)
    quarter = shapely.box(left - 160, bottom - 160, row["right"], row["top"])
    burned = rasterize([quarter], out_shape=(32, 32), transform=HERE.geobox.affine, all_touched=True)
    assert row["pixels"] == np.count_nonzero(burned)


def test_an_event_outside_of_the_patch_has_no_bounds() -> None:
    away = slide("e", wkb=rectangle(HERE, left=1.5, right=1.7))
    sample = sample_with(away)
    (row,) = table_of(decide([sample], [away], series(sample, "S2L2A", (-9, -3, 2, 8)))).to_pylist()
    assert [row[edge] for edge in ("left", "bottom", "right", "top")] == [None] * 4
    assert (row["pixels"], row["area"]) == (0, 0.0)


def test_files_that_were_not_built_have_columns_and_no_images() -> None:
    event = slide("e")
    sample = sample_with(event)
    decided = decide([sample], [event], series(sample, "S2L2A", (-9, -3, 2, 8)))
    shards = make_shards(decided.samples, {"e": event}, decided.places, decided.rows, RECIPE)
    (row,) = labels_table(decided, shards, []).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == (-1, -1)


def test_column_types_do_not_depend_on_what_there_is() -> None:
    event = slide("e")
    sample = sample_with(event)
    rows = series(sample, "S2L2A", (-9, -3, 2, 8))
    full, empty = table_of(decide([sample], [event], rows)), table_of(decide([make_sample()], [], rows))
    assert full.schema == empty.schema
    assert empty.num_rows == 0
    assert full.schema.field("date").type == pa.timestamp("us", tz="UTC")


def test_days_are_told_by_the_clock_of_utc() -> None:
    event = slide("e")
    sample = sample_with(event)
    rows = series(sample, "S2L2A", (-1 / 86_400, 0.0, 86_399 / 86_400, 1.0))
    (row,) = table_of(decide([sample], [event], rows)).to_pylist()
    assert (row["before_S2L2A"], row["after_S2L2A"]) == (0, 3)
    assert isinstance(row["date"], datetime)
