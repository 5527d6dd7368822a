"""Packing: samples in order, files numbered from one, and every file with its own rows."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_choice, make_recipe, make_sample

from pipeline.plan.packing import Place, make_shards, pack
from pipeline.records import Event, PlanRow, Sample

NOWHERE = Place(split="", shard="", position=-1)


def samples(count: int) -> list[Sample]:
    return [make_sample(f"s{index:03d}") for index in range(count)]


def rows_of(sample: Sample, modality: str, steps: int) -> list[PlanRow]:
    return [
        PlanRow(sample_id=sample.id, modality=modality, timestep=step, choice=make_choice(f"p{step}"))
        for step in range(steps)
    ]


@given(st.integers(0, 40), st.integers(1, 12))
def test_samples_keep_their_order_and_only_the_last_file_is_short(count: int, per_shard: int) -> None:
    recipe = make_recipe(f"samples_per_shard={per_shard}")
    places = pack(samples(count), recipe)
    assert list(places) == [sample.id for sample in samples(count)]
    keys = [(place.shard, place.position) for place in places.values()]
    assert keys == sorted(set(keys))
    files = [place.shard for place in places.values()]
    sizes = [files.count(file) for file in dict.fromkeys(files)]
    assert sizes == [per_shard] * (count // per_shard) + [count % per_shard] * bool(count % per_shard)


def test_files_are_numbered_from_one_with_six_digits() -> None:
    places = pack(samples(5), make_recipe("samples_per_shard=2", "name=slides"))
    assert places["s000"] == Place(split="all", shard="slides_all_000001", position=0)
    assert places["s003"] == Place(split="all", shard="slides_all_000002", position=1)
    assert places["s004"] == Place(split="all", shard="slides_all_000003", position=0)


def test_every_file_and_modality_is_one_shard_with_its_own_rows() -> None:
    recipe = make_recipe("samples_per_shard=2", "series_length=3", "bands.S2L2A=[B04, B03]")
    held = samples(3)
    rows = [row for sample in held for row in (*rows_of(sample, "S2L2A", 3), *rows_of(sample, "DEM", 1))]
    shards = make_shards(held, {}, pack(held, recipe), rows, recipe)
    assert [(shard.name, shard.modality) for shard in shards] == [
        ("landslides_all_000001", "DEM"),
        ("landslides_all_000001", "S2L2A"),
        ("landslides_all_000002", "DEM"),
        ("landslides_all_000002", "S2L2A"),
    ]
    optical = shards[1]
    assert [sample.id for sample in optical.samples] == ["s000", "s001"]
    assert [(row.sample_id, row.timestep) for row in optical.rows] == [
        (name, step) for name in ("s000", "s001") for step in range(3)
    ]
    assert (optical.bands, optical.timesteps) == (("B04", "B03"), 3)
    assert shards[0].timesteps == 1
    assert optical.path == "all/S2L2A/landslides_all_000001.zarr.zip"
    assert optical.receipt_path == "receipts/all/S2L2A/landslides_all_000001.json"
    planned = {(row.sample_id, row.modality, row.timestep): replace(row, alternates=()) for row in rows}
    held_rows = [row for shard in shards for row in shard.rows]
    assert len(held_rows) == len(rows)
    assert all(row == planned[row.sample_id, row.modality, row.timestep] for row in held_rows)


def test_patches_of_one_scene_share_its_references() -> None:
    recipe = make_recipe("samples_per_shard=2", "series_length=1")
    held = samples(2)
    rows = [replace(row, choice=make_choice("same")) for sample in held for row in rows_of(sample, "S2L2A", 1)]
    assert rows[0].choice is not rows[1].choice
    (shard,) = make_shards(held, {}, pack(held, recipe), rows, recipe)
    first, second = (row.choice for row in shard.rows)
    assert first == second == rows[0].choice
    assert first.assets[0] is second.assets[0]


def test_a_modality_without_a_row_has_no_file() -> None:
    recipe = make_recipe()
    held = samples(2)
    shards = make_shards(held, {}, pack(held, recipe), rows_of(held[0], "S1ASC", 1), recipe)
    assert [shard.modality for shard in shards] == ["S1ASC"]
    assert [sample.id for sample in shards[0].samples] == ["s000", "s001"]


def test_samples_in_no_file_are_left_out_with_their_rows() -> None:
    recipe = make_recipe()
    held = samples(2)
    places = {"s000": NOWHERE, "s001": Place(split="all", shard="x", position=0)}
    (shard,) = make_shards(held, {}, places, [row for s in held for row in rows_of(s, "DEM", 1)], recipe)
    assert [sample.id for sample in shard.samples] == ["s001"]
    assert {row.sample_id for row in shard.rows} == {"s001"}


def test_the_positions_decide_the_order_inside_a_file() -> None:
    held = samples(3)
    places = {sample.id: Place(split="all", shard="x", position=2 - index) for index, sample in enumerate(held)}
    (shard,) = make_shards(held, {}, places, rows_of(held[0], "DEM", 1), make_recipe())
    assert [sample.id for sample in shard.samples] == ["s002", "s001", "s000"]


def test_a_sample_brings_its_events_in_its_own_order() -> None:
    events = {name: Event(id=name, date=DAY + timedelta(days=days), wkb=b"") for name, days in (("b", 0), ("a", 3))}
    sample = make_sample(event_ids=("b", "a"), event_dates=(DAY, DAY + timedelta(days=3)))
    (shard,) = make_shards([sample], events, pack([sample], make_recipe()), rows_of(sample, "MASK", 1), make_recipe())
    assert shard.samples[0].events == (events["b"], events["a"])
    assert (shard.samples[0].grid, shard.samples[0].date) == (sample.grid, sample.date)


def test_an_event_that_is_not_there_is_a_bug() -> None:
    sample = make_sample(event_ids=("gone",), event_dates=(DAY,))
    with pytest.raises(KeyError, match="gone"):
        make_shards([sample], {}, pack([sample], make_recipe()), rows_of(sample, "MASK", 1), make_recipe())
