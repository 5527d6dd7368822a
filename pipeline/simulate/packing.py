"""What the order of packing costs: files of neighbours share scenes and tiles, shuffled ones hardly do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pipeline.plan.packing import Place, pack
from pipeline.records import PlanRow, Recipe, Sample, Shard, ShardSample
from pipeline.simulate.load import Layouts, Load, load_of
from pipeline.simulate.outlook import Setting, outlook_of

FILES = 24
"""Files of either packing that are looked at, each in all its modalities; where there are more, they stand for all."""


class Shuffled(NamedTuple):
    """How many times as much a build takes from shuffled files as from local ones."""

    requests: float
    bytes: float
    headers: float
    hours: float


def cost_of_shuffling(
    shards: Iterable[Shard], samples: Sequence[Sample], recipe: Recipe, files: Layouts, setting: Setting
) -> Shuffled:
    """Compare the two packings of a plan, whichever of them it has.

    Parameters
    ----------
    shards
        Every file of the plan; gone through once.
    samples
        Those that are in a file, in their order.

    Raises
    ------
    SourceError
        As `FileLayouts.of`.
    """
    recipes = {name: recipe.model_copy(update={"packing": name}) for name in ("local", "shuffled")}
    drawn = {name: _Drawn(_places_of_some(samples, packed)) for name, packed in recipes.items()}
    for shard in shards:
        for each in drawn.values():
            each.take(shard)
    local, shuffled = (_scaled(load_of(each.shards(), recipes[name], files), each) for name, each in drawn.items())
    hours = [outlook_of(load, setting).hours for load in (shuffled, local)]
    return Shuffled(
        requests=_times(shuffled.requests, local.requests),
        bytes=_times(shuffled.bytes, local.bytes),
        headers=_times(shuffled.opens, local.opens),
        hours=_times(*hours),
    )


def _times(left: float, right: float) -> float:
    return left / right if right else 1.0


def _scaled(load: Load, drawn: "_Drawn") -> Load:
    """Return the load of as many files as hold one sample."""
    return load.times(1.0 / max(1, len(drawn.places)))


def _places_of_some(samples: Sequence[Sample], recipe: Recipe) -> dict[str, Place]:
    """Return the samples of some files, spread over all, and where they lie."""
    places = pack(samples, recipe)
    names = sorted({place.shard for place in places.values()})
    chosen = {names[number * len(names) // FILES] for number in range(FILES)} if len(names) > FILES else {*names}
    return {sample_id: place for sample_id, place in places.items() if place.shard in chosen}


@dataclass(slots=True)
class _Drawn:
    """Some files of one packing, while the plan's rows for them are gathered."""

    places: Mapping[str, Place]
    _rows: dict[tuple[str, str], list[PlanRow]] = field(default_factory=dict)
    _samples: dict[tuple[str, str], list[ShardSample]] = field(default_factory=dict)
    _like: dict[str, Shard] = field(default_factory=dict)
    """A file of each modality, for what all of them have in common."""

    def take(self, shard: Shard) -> None:
        """Take the samples and rows of a file of the plan that lie in these."""
        self._like.setdefault(shard.modality, shard)
        for sample in shard.samples:
            if sample.id in self.places:
                self._samples.setdefault((self.places[sample.id].shard, shard.modality), []).append(sample)
        for row in shard.rows:
            if row.sample_id in self.places:
                self._rows.setdefault((self.places[row.sample_id].shard, shard.modality), []).append(row)

    def shards(self) -> Iterator[Shard]:
        """Yield the files."""
        for (name, modality), rows in sorted(self._rows.items(), key=lambda item: item[0]):
            samples = tuple(self._samples[name, modality])
            yield replace(self._like[modality], name=name, samples=samples, rows=tuple(rows))
