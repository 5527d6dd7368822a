"""Which patches share a file: shards in sample order, so that neighbours share scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.records import Event, PlanRow, Recipe, Sample, Shard, ShardSample

SPLIT = "all"
"""Folder of a dataset whose splits are id lists made later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sample lies in the store."""

    shard: str
    """File name without suffix; empty when the sample is in no file."""
    position: int
    """Index along the sample axis; -1 when the sample is in no file."""


def pack(samples: Sequence[Sample], recipe: Recipe) -> dict[str, Place]:
    """Give every sample its file and its place in it; samples keep their order, the last file may be short."""
    return {
        sample.id: Place(
            shard=f"{recipe.name}_{SPLIT}_{index // recipe.samples_per_shard + 1:06d}",
            position=index % recipe.samples_per_shard,
        )
        for index, sample in enumerate(samples)
    }


def make_shards(
    samples: Sequence[Sample],
    events: Mapping[str, Event],
    places: Mapping[str, Place],
    rows: Sequence[PlanRow],
    recipe: Recipe,
) -> list[Shard]:
    """Return every file to write, by name and modality; modalities without a row are left out."""
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        if places[sample.id].shard:
            members.setdefault(places[sample.id].shard, []).append(sample)
    by_file: dict[tuple[str, str], list[PlanRow]] = {}
    for row in rows:
        if places[row.sample_id].shard:
            by_file.setdefault((places[row.sample_id].shard, row.modality), []).append(row)
    shards = []
    for (name, modality), file_rows in sorted(by_file.items()):
        held = sorted(members[name], key=lambda sample: places[sample.id].position)
        shards.append(
            Shard(
                name=name,
                split=SPLIT,
                modality=modality,
                bands=recipe.bands_of(modality),
                samples=tuple(_shard_sample(sample, events) for sample in held),
                rows=tuple(file_rows),
                timesteps=recipe.timesteps_of(modality),
            )
        )
    return shards


def _shard_sample(sample: Sample, events: Mapping[str, Event]) -> ShardSample:
    return ShardSample(
        id=sample.id,
        grid=sample.grid,
        lon=sample.lon,
        lat=sample.lat,
        date=sample.date,
        events=tuple(events[event_id] for event_id in sample.event_ids),
    )
