"""Asking mirrors for images that proved of no use at the dataset's own source, and planning again with what they have.

Nothing here depends on when it happens. A mirror that does not answer leaves the images open: they are neither taken
from the next mirror nor replaced, or an outage would choose the pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.catalog import Decided, replanned
from pipeline.catalog.scenes import scenes_over
from pipeline.errors import SourceError, TransientSourceError
from pipeline.plan.mirrored import Copies, Mending, faults_by_sample, wanted_copies
from pipeline.plan.rows import needed_bands, offered_to
from pipeline.records import Copy, Product, Recipe, Scene, Unreadable
from pipeline.sources import Source
from pipeline.sources.copies import absent_copies, find_copies
from pipeline.sources.mirrors import Mirrors

THREADS = 4
"""Searches at the same time."""

Wanted = tuple[tuple[str, Product, str], Mapping[str, Scene]]
"""Mirror, product and acquisition, and the scenes to ask for, by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A plan in which every image that proved of no use is read elsewhere, replaced or missing, or still open."""

    decided: Decided
    waiting: frozenset[str] = frozenset()
    """Samples with images that a mirror could not be asked for; their rows are as they were."""
    problem: str = ""
    """What kept it from being asked."""


def settled(decided: Decided, unreadable: Iterable[Unreadable], recipe: Recipe, mirrors: Mirrors) -> Settled:
    """Return the plan that follows from `unreadable` and from what mirrors have of it; they are asked where need be.

    While a mirror that is in turn does not answer, nothing is planned again.
    """
    lost = tuple(sorted(set(unreadable)))
    copies, waiting, problem = _looked_up(decided, lost, recipe, mirrors)
    decided = replace(decided, copies=copies)
    if waiting:
        return Settled(decided=decided, waiting=waiting, problem=problem)
    return Settled(decided=replanned(decided, lost, recipe))


def _looked_up(
    decided: Decided, unreadable: Sequence[Unreadable], recipe: Recipe, mirrors: Mirrors
) -> tuple[tuple[Copy, ...], frozenset[str], str]:
    """Return all copies that are known then, the samples of images that are still open, and why they are."""
    mendings = _mendings(decided, unreadable, recipe) if decided.mirrors else {}
    copies, problem = decided.mirrored, ""
    while not problem and (wanted := wanted_copies(mendings.values())):
        found, problem = _ask(wanted, recipe, mirrors)
        copies = Copies(mirrors=copies.mirrors, found=_merged(copies.found, found))
        mendings = {name: replace(mending, copies=copies) for name, mending in mendings.items()}
    waiting = frozenset(name for name, mending in mendings.items() if problem and wanted_copies([mending]))
    return copies.found, waiting, problem


def _mendings(decided: Decided, unreadable: Sequence[Unreadable], recipe: Recipe) -> dict[str, Mending]:
    faults = faults_by_sample(unreadable)
    samples = [sample for sample in decided.samples if sample.id in faults and decided.places[sample.id].shard]
    if not samples:
        return {}
    near, kinds = scenes_over(decided.scenes, samples)
    return {
        sample.id: offered.mending(faults[sample.id], decided.mirrored, recipe)
        for sample, offered in offered_to(samples, near, recipe, kinds=kinds)
    }


def _ask(
    wanted: Mapping[tuple[str, Product, str], Mapping[str, Scene]], recipe: Recipe, mirrors: Mirrors
) -> tuple[list[Copy], str]:
    """Return what mirrors have of all that is wanted, and what kept any of them from being asked."""
    silent: dict[str, str] = {}

    def ask(item: Wanted) -> list[Copy]:
        (name, product, _), scenes = item
        if name in silent:
            return []
        try:
            return _copies_at(mirrors.get(name), name, product, list(scenes.values()), recipe)
        except TransientSourceError as err:
            silent[name] = str(err)
            return []

    with ThreadPoolExecutor(max_workers=THREADS) as pool:
        found = [copy for copies in pool.map(ask, sorted(wanted.items(), key=lambda item: item[0])) for copy in copies]
    return found, silent[min(silent)] if silent else ""


def _copies_at(source: Source, name: str, product: Product, scenes: Sequence[Scene], recipe: Recipe) -> list[Copy]:
    own = recipe.own_modalities.get(product)
    try:
        found = find_copies(scenes, needed_bands(product, recipe), source, own=own)
    except TransientSourceError:
        raise
    except SourceError as err:
        return absent_copies(scenes, name, str(err))
    # The dataset's name of a mirror, which may not be the one that it was opened by.
    return [replace(copy, source=name) for copy in found]


def _merged(known: Iterable[Copy], found: Iterable[Copy]) -> tuple[Copy, ...]:
    held = {(copy.source, copy.product, copy.scene_id): copy for copy in (*known, *found)}
    return tuple(held[key] for key in sorted(held))
