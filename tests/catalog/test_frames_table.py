"""frames.parquet: what each stored image is."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
from support.records import DAY, make_choice, make_recipe, make_sample

from pipeline.catalog.frames import frames_table
from pipeline.plan.packing import make_shards, pack
from pipeline.records import AssetRef, Choice, PatchReport, PlanRow, Reason, Shard, ShardReport

RECIPE = make_recipe("series_length=2", "modalities=[S2L2A, S1ASC, DEM, MASK, MASK_SERIES]", "bands.S2L2A=[B04]")
SAMPLES = (make_sample("b"), make_sample("a"))
MOMENT = DAY + timedelta(days=3, hours=9, minutes=50, seconds=31)
FIRST, SECOND = (AssetRef(scene_id=name, hrefs=(f"/{name}.tif",), offset=-1000) for name in ("one", "two"))
OPTICAL = make_choice(
    "pass",
    MOMENT,
    assets=(FIRST, SECOND),
    tile="T33TVM",
    platform="sentinel-2a",
    orbit_state="descending",
    relative_orbit=79,
    baseline="04.00",
    offset_rule="stated",
    cloud=0.1,
    bad=0.15,
)


def rows_of(optical: Choice = OPTICAL) -> list[PlanRow]:
    def row(sample_id: str, modality: str, step: int, choice: Choice | None, **changes: object) -> PlanRow:
        return PlanRow(sample_id=sample_id, modality=modality, timestep=step, choice=choice, **changes)

    return [
        row(sample.id, *parts)
        for sample in SAMPLES
        for parts in (
            ("S2L2A", 0, optical),
            ("S1ASC", 0, make_choice("radar", DAY)),
            ("DEM", 0, make_choice("dem", DAY)),
            ("MASK", 0, make_choice("labels", DAY, assets=())),
            ("MASK_SERIES", 0, make_choice("labels", MOMENT, assets=())),
        )
    ] + [
        row("a", "S2L2A", 1, optical, is_padding=True),
        row("b", "S2L2A", 1, None, reason=Reason.SERIES_SHORT),
    ]


def shards_of(rows: list[PlanRow]) -> list[Shard]:
    return make_shards(SAMPLES, {}, pack(list(SAMPLES), RECIPE), rows, RECIPE)


def report_of(shard: Shard) -> ShardReport:
    patches = tuple(
        PatchReport(
            sample_id=row.sample_id,
            timestep=row.timestep,
            state="written" if row.choice else "missing",
            valid=0.75,
            filled=0.25,
        )
        for row in shard.rows
    )
    return ShardReport(path=shard.path, plan_digest="", state="done", patches=patches)


def table_of(rows: list[PlanRow]) -> pa.Table:
    shards = shards_of(rows)
    return frames_table(shards, [report_of(shard) for shard in shards], "archive")


def test_every_written_image_has_a_row_and_labels_have_none() -> None:
    assert [(row["modality"], row["sample_id"], row["timestep"]) for row in table_of(rows_of()).to_pylist()] == [
        ("DEM", "b", 0),
        ("DEM", "a", 0),
        ("S1ASC", "b", 0),
        ("S1ASC", "a", 0),
        ("S2L2A", "b", 0),
        ("S2L2A", "a", 0),
        ("S2L2A", "a", 1),
    ]


def test_a_row_says_what_its_image_is() -> None:
    row = table_of(rows_of()).to_pylist()[5]
    assert row == {
        "sample_id": "a",
        "modality": "S2L2A",
        "timestep": 0,
        "shard": "all/S2L2A/landslides_all_000001.zarr.zip",
        "position": 1,
        "acquired": MOMENT,
        "file_id": "file-pass",
        "scene_ids": ["one", "two"],
        "tile": "T33TVM",
        "platform": "sentinel-2a",
        "orbit_state": "descending",
        "relative_orbit": 79,
        "baseline": "04.00",
        "offset": -1000,
        "offset_rule": "stated",
        "cloud": 0.1,
        "bad": 0.15,
        "valid": 0.75,
        "filled": 0.25,
        "is_padding": False,
        "source": "archive",
    }


def test_an_image_that_fills_up_a_series_is_marked() -> None:
    assert table_of(rows_of())["is_padding"].to_pylist() == [False] * 6 + [True]


def test_an_offset_that_differs_within_a_mosaic_is_not_told_as_one() -> None:
    rows = rows_of(make_choice("pass", MOMENT, assets=(FIRST, replace(SECOND, offset=0))))
    assert table_of(rows)["offset"].to_pylist()[4] is None


def test_a_share_that_could_not_be_surveyed_is_null() -> None:
    rows = rows_of(make_choice("pass", MOMENT, cloud=float("nan"), bad=float("nan")))
    assert table_of(rows)["cloud"].to_pylist() == table_of(rows)["bad"].to_pylist() == [None] * 7


def test_files_that_were_not_built_have_no_rows_but_the_table_its_types() -> None:
    empty = frames_table(shards_of(rows_of()), [])
    assert empty.num_rows == 0
    assert empty.schema == table_of(rows_of()).schema
    assert empty.schema.field("acquired").type == pa.timestamp("us", tz="UTC")
    assert empty.schema.field("scene_ids").type == pa.list_(pa.string())
