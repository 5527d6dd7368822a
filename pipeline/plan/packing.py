"""Which patches share a file: shards in sample order, so that neighbours share scenes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from pipeline.records import AssetRef, Event, PlanRow, Recipe, Sample, Shard, ShardSample

ALL = "all"
"""Folder of a dataset whose splits are id lists made later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sample lies in the store."""

    split: str
    """Folder: train, val, test or all; empty when the sample is in no file."""
    shard: str
    """File name without suffix; empty when the sample is in no file."""
    position: int
    """Index along the sample axis; -1 when the sample is in no file."""


NOWHERE = Place(split="", shard="", position=-1)


def pack(samples: Sequence[Sample], recipe: Recipe) -> dict[str, Place]:
    """Give every sample its folder, its file and its place in it; the last file of a folder may be short.

    `local` keeps the samples' order, so that neighbours share scenes; `shuffled` orders them by a hash of seed and
    id. A sample's split depends on seed and id alone: more samples never move one from train to val.
    """
    counts: dict[str, int] = {}
    places = {}
    for sample in packing_order(samples, recipe):
        split = split_of(sample.id, recipe)
        index = counts.get(split, 0)
        counts[split] = index + 1
        number, position = divmod(index, recipe.samples_per_shard)
        places[sample.id] = Place(split=split, shard=recipe.file_name_of(split, number + 1), position=position)
    return places


def packing_order(samples: Sequence[Sample], recipe: Recipe) -> list[Sample]:
    """Return the samples folder by folder in the order in which they fill files; leaving some out moves no other."""
    ordered = list(samples)
    if recipe.packing == "shuffled":
        ordered.sort(key=lambda sample: (_draw(recipe, "packing", sample.id), sample.id))
    if recipe.split is not None:
        ordered.sort(key=lambda sample: split_of(sample.id, recipe))
    return ordered


def split_of(sample_id: str, recipe: Recipe) -> str:
    """Return the folder of a sample."""
    if recipe.split is None:
        return ALL
    return "val" if _draw(recipe, "split", sample_id) < recipe.split.val else "train"


def _draw(recipe: Recipe, purpose: str, sample_id: str) -> float:
    """Return a number from 0 to below 1 that depends on seed, purpose and id alone."""
    digest = blake2b(f"{recipe.seed}|{purpose}|{sample_id}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") / 2.0**64)


def make_shards(
    samples: Sequence[Sample],
    events: Mapping[str, Event],
    places: Mapping[str, Place],
    rows: Sequence[PlanRow],
    recipe: Recipe,
) -> list[Shard]:
    """Return every file to write, by name and modality; modalities without a row are left out.

    A shard's rows have no alternates: a file's bytes do not depend on them.
    """
    return shards_from(rows, packed(samples, events, places), recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Who is in which file."""

    places: Mapping[str, Place]
    """Place of every sample, by its id."""
    files: Mapping[str, tuple[Sample, ...]]
    """Samples of each file by position."""
    events: Mapping[str, Event]
    """Every event by its id."""


def packed(samples: Sequence[Sample], events: Mapping[str, Event], places: Mapping[str, Place]) -> Packed:
    """Return who is in which file."""
    files: dict[str, list[Sample]] = {}
    for sample in samples:
        if places[sample.id].shard:
            files.setdefault(places[sample.id].shard, []).append(sample)
    ordered = {name: tuple(sorted(held, key=lambda sample: places[sample.id].position)) for name, held in files.items()}
    return Packed(places=places, files=ordered, events=events)


def shards_from(rows: Iterable[PlanRow], packed: Packed, recipe: Recipe) -> list[Shard]:
    """Return the files that have rows among these, by name and modality: all rows of a file have to be there."""
    by_file: dict[tuple[str, str], list[PlanRow]] = {}
    shared: dict[AssetRef, AssetRef] = {}
    for row in rows:
        name = packed.places[row.sample_id].shard
        if name:
            by_file.setdefault((name, row.modality), []).append(_lean(row, shared))
    return [
        Shard(
            name=name,
            split=packed.places[packed.files[name][0].id].split,
            modality=modality,
            bands=recipe.bands_of(modality),
            samples=tuple(_shard_sample(sample, packed.events, modality, recipe) for sample in packed.files[name]),
            rows=tuple(file_rows),
            timesteps=recipe.timesteps_of(modality),
            own=recipe.own_modalities[modality].modality(modality) if modality in recipe.own_modalities else None,
        )
        for (name, modality), file_rows in sorted(by_file.items())
    ]


def _lean(row: PlanRow, shared: dict[AssetRef, AssetRef]) -> PlanRow:
    """Return the row without what decides nothing; patches of one scene share its references: shards travel."""
    choice = row.choice
    if choice is not None:
        assets = tuple([shared.setdefault(asset, asset) for asset in choice.assets])
        if any(one is not other for one, other in zip(assets, choice.assets, strict=True)):
            choice = replace(choice, assets=assets)
    if choice is row.choice and not row.alternates:
        return row
    return replace(row, choice=choice, alternates=())


def _shard_sample(sample: Sample, events: Mapping[str, Event], modality: str, recipe: Recipe) -> ShardSample:
    grid = sample.grid
    if modality in recipe.own_modalities:
        grid = replace(grid, size=recipe.size_of(modality), resolution=recipe.resolution_of(modality))
    return ShardSample(
        id=sample.id,
        grid=grid,
        lon=sample.lon,
        lat=sample.lat,
        date=sample.date,
        events=tuple(events[event_id] for event_id in sample.event_ids),
    )
