"""The codec: any record to Arrow, to a parquet file and back."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import DAY, make_choice, make_sample, make_scene, make_score

from pipeline.catalog.built import LedgerRow
from pipeline.catalog.codec import arrow_schema, from_table, read_table, to_table, with_geometry, write_table
from pipeline.errors import LayoutError
from pipeline.records import Event, Moments, PatchReport, PlanRow, Reason, Sample, Scene, Score, Shard, ShardReport

RECORDS = (Sample, Event, Scene, Score, PlanRow, LedgerRow, Shard, ShardReport, PatchReport, Moments)

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(-(2**63), 2**63 - 1),
    # NaN is not equal to itself; it has a test of its own.
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    datetime: st.datetimes(timezones=st.just(UTC)),
    type(None): st.none(),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may hold."""
    if annotation in SIMPLE:
        return SIMPLE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    hints = typing.get_type_hints(annotation)
    return st.builds(
        annotation, **{field.name: values_of(hints[field.name]) for field in dataclasses.fields(annotation)}
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_any_record_comes_back_from_parquet_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, record: type[Any]
) -> None:
    path = tmp_path_factory.mktemp("codec") / "drawn.parquet"

    @settings(max_examples=30)
    @given(st.lists(values_of(record), max_size=3))
    def check(records: list[Any]) -> None:
        write_table(path, to_table(records, record))
        assert from_table(read_table(path), record) == records

    check()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_columns_are_the_fields_in_order_whatever_the_values(record: type[Any]) -> None:
    table = to_table([], record)
    assert table.column_names == [field.name for field in dataclasses.fields(record)]
    assert table.schema == arrow_schema(record)


def test_types_are_the_widest_of_their_kind_and_times_are_utc() -> None:
    schema = arrow_schema(Scene)
    assert schema.field("acquired").type == pa.timestamp("us", tz="UTC")
    assert schema.field("epsg").type == pa.int64()
    assert schema.field("cloud_cover").type == pa.float64()
    assert schema.field("hrefs").type == pa.map_(pa.string(), pa.string())
    assert schema.field("footprint").type == pa.binary()
    assert arrow_schema(Sample).field("event_dates").type == pa.list_(pa.timestamp("us", tz="UTC"))
    assert pa.types.is_struct(arrow_schema(PlanRow).field("choice").type)


def test_shares_that_could_not_be_measured_stay_nan(tmp_path: Path) -> None:
    nan = float("nan")
    score = make_score(make_sample(), make_scene("s"), cloud=nan, error="unreadable")
    write_table(tmp_path / "a.parquet", to_table([score], Score))
    (back,) = from_table(read_table(tmp_path / "a.parquet"), Score)
    assert math.isnan(back.cloud)
    assert dataclasses.replace(back, cloud=0.0) == dataclasses.replace(score, cloud=0.0)


def test_infinite_bounds_of_nothing_survive() -> None:
    assert from_table(to_table([Moments()], Moments), Moments) == [Moments()]


def test_a_reason_is_stored_as_its_code() -> None:
    row = PlanRow(sample_id="a", modality="DEM", timestep=0, choice=None, reason=Reason.NO_COVERAGE)
    table = to_table([row], PlanRow)
    assert table["reason"].to_pylist() == ["no_coverage"]
    assert from_table(table, PlanRow) == [row]


def test_no_choice_and_an_empty_choice_are_told_apart() -> None:
    rows = [
        PlanRow(sample_id="a", modality="MASK", timestep=0, choice=choice)
        for choice in (None, make_choice("labels", assets=()))
    ]
    assert from_table(to_table(rows, PlanRow), PlanRow) == rows


def test_columns_that_the_record_does_not_have_are_ignored() -> None:
    sample = make_sample()
    table = to_table([sample], Sample).append_column("shard", pa.array(["x"]))
    assert from_table(table, Sample) == [sample]


def test_a_missing_column_is_named() -> None:
    table = to_table([make_sample()], Sample).drop_columns("lon")
    with pytest.raises(LayoutError, match=r"^table has no column lon$"):
        from_table(table, Sample)


def test_a_value_of_another_kind_is_named_with_its_row() -> None:
    table = to_table([make_sample(), make_sample("b")], Sample)
    table = table.set_column(table.column_names.index("lat"), "lat", pa.array(["46", "north"]))
    with pytest.raises(LayoutError, match=r"^table row 1: lat: Input should be a valid number"):
        from_table(table, Sample)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.date32()])
def test_a_time_that_lost_its_zone_is_named_with_its_row(kind: pa.DataType) -> None:
    table = to_table([make_scene("a")], Scene)
    zoneless = table["acquired"].cast(pa.timestamp("us")).cast(kind, safe=False)
    table = table.set_column(table.column_names.index("acquired"), "acquired", zoneless)
    with pytest.raises(LayoutError, match=r"^scenes\.parquet row 0: acquired: a time without its time zone$"):
        from_table(table, Scene, "scenes.parquet")


def test_a_type_that_arrow_does_not_have_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd:
        value: complex

    with pytest.raises(TypeError, match="no Arrow type for"):
        arrow_schema(Odd)


def test_a_table_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.parquet"
    write_table(path, to_table([make_sample()], Sample))
    write_table(path, to_table([make_sample("b")], Sample))
    assert [file.name for file in path.parent.iterdir()] == ["a.parquet"]
    assert from_table(read_table(path), Sample) == [make_sample("b")]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_table(tmp_path / name, to_table([make_scene("s"), make_scene("t")], Scene))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "kept",
    [slice(0), slice(500), slice(-3), slice(9, None)],
    ids=["nothing", "its start", "all but its end", "all but its start"],
)
def test_a_damaged_table_is_refused_in_one_line(tmp_path: Path, kept: slice) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, to_table([make_sample()], Sample))
    path.write_bytes(path.read_bytes()[kept])
    with pytest.raises(LayoutError, match=rf"^{path} is not a whole parquet file: ") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"gone\.parquet does not exist$"):
        read_table(tmp_path / "gone.parquet")


def test_the_name_of_a_folder_adds_no_column(tmp_path: Path) -> None:
    path = tmp_path / "id=7" / "a.parquet"
    write_table(path, to_table([make_sample()], Sample))
    assert from_table(read_table(path), Sample) == [make_sample()]


def test_geometry_makes_it_geoparquet_in_lon_and_lat(tmp_path: Path) -> None:
    shapes = [shapely.box(15, 46, 16, 47), shapely.MultiPolygon([shapely.box(-180, 0, -179, 1)])]
    table = to_table([make_sample("a"), make_sample("b")], Sample)
    write_table(tmp_path / "a.parquet", with_geometry(table, [shapely.to_wkb(shape) for shape in shapes]))
    frame = gpd.read_parquet(tmp_path / "a.parquet")
    assert list(frame.geometry) == shapes
    assert frame.crs == "OGC:CRS84"
    assert list(frame["id"]) == ["a", "b"]
    geo = json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[b"geo"])
    assert geo["version"] == "1.0.0"
    assert geo["columns"]["geometry"]["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert geo["columns"]["geometry"]["bbox"] == [-180.0, 0.0, 16.0, 47.0]


def test_a_table_without_rows_is_geoparquet_too(tmp_path: Path) -> None:
    table = with_geometry(to_table([], Event).drop_columns("wkb"), [])
    write_table(tmp_path / "a.parquet", table)
    frame = gpd.read_parquet(tmp_path / "a.parquet")
    assert len(frame) == 0
    assert frame.crs == "OGC:CRS84"


def test_times_keep_their_microseconds(tmp_path: Path) -> None:
    event = Event(id="e", date=DAY.replace(microsecond=123_456), wkb=b"\x00")
    write_table(tmp_path / "a.parquet", to_table([event], Event))
    assert from_table(read_table(tmp_path / "a.parquet"), Event) == [event]


@pytest.mark.parametrize("choices", [(), ({"acquisition": "x"},)])
def test_only_the_named_columns_are_read(tmp_path: Path, choices: tuple[dict[str, str], ...]) -> None:
    path = tmp_path / "plan.parquet"
    row = PlanRow(sample_id="a", modality="S2L2A", timestep=0, choice=make_choice("x"))
    write_table(path, to_table([row for _ in choices], PlanRow))
    table = read_table(path, ("sample_id", "choice.acquisition"))
    assert table.to_pylist() == [{"sample_id": "a", "choice": choice} for choice in choices]
    with pytest.raises(LayoutError, match=r"plan\.parquet has no column nothing"):
        read_table(path, ("sample_id", "nothing"))


def test_a_table_that_is_far_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"id": pa.array([0] * 3_000_000, pa.int8())}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(LayoutError, match=r"would hold 3000000 rows of \d+ bytes: refused$"):
        read_table(path)
