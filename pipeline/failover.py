"""Asking mirrors for images that proved of no use at the dataset's own source, and planning again with what they have.

Nothing here depends on when it happens. A mirror that does not answer leaves the images open: they are neither taken
from the next mirror nor replaced, or an outage would choose the pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.catalog import Decided, replanned
from pipeline.catalog.scenes import scenes_over
from pipeline.errors import SourceError, TransientSourceError
from pipeline.plan.candidates import Candidate
from pipeline.plan.choices import MASK_BAND
from pipeline.plan.mirrored import OWN, Copies, Mending, faults_by_sample, wanted_copies
from pipeline.plan.rows import needed_bands, offered_to
from pipeline.records import Copy, Product, Reason, Recipe, Sample, Scene, Score, Unreadable
from pipeline.sources import Source
from pipeline.sources.copies import absent_copies, find_copies, is_same_processing
from pipeline.sources.mirrors import Mirrors
from pipeline.survey import SurveyWindow, survey_batches

SURVEYED: tuple[Product, ...] = ("S2L2A", "S1")
"""Products that have scores."""
UNREADABLE = str(Reason.UNREADABLE)
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
    faults = faults_by_sample(unreadable) if decided.mirrors else {}
    samples = [sample for sample in decided.samples if sample.id in faults and decided.places[sample.id].shard]
    if not samples:
        return decided.copies, frozenset(), ""
    near, kinds = scenes_over(decided.scenes, samples)
    mendings = {
        sample.id: offered.mending(faults[sample.id], decided.mirrored, recipe)
        for sample, offered in offered_to(samples, near, recipe, kinds=kinds)
    }
    copies, problem = look_up(mendings.values(), decided.mirrored, recipe, mirrors)
    known = (replace(mending, copies=copies) for mending in mendings.values())
    waiting = (name for name, mending in zip(mendings, known, strict=True) if problem and wanted_copies([mending]))
    return copies.found, frozenset(waiting), problem


def look_up(mendings: Iterable[Mending], copies: Copies, recipe: Recipe, mirrors: Mirrors) -> tuple[Copies, str]:
    """Return all copies that are known once every mirror in turn was asked, and what kept one from answering."""
    held, problem = list(mendings), ""
    while not problem and (wanted := wanted_copies(replace(mending, copies=copies) for mending in held)):
        found, problem = _ask(wanted, recipe, mirrors)
        copies = Copies(mirrors=copies.mirrors, found=_merged(copies.found, found))
    return copies, problem


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


Survey = Callable[[Sequence[tuple[SurveyWindow, ...]], Source], Iterable[Score]]
"""Scores batches of windows on the files of one source."""
Key = tuple[str, str]
"""Sample and acquisition."""


@dataclass(slots=True, kw_only=True)
class MirrorSurvey:
    """Scores images at mirrors whose classification, or radar band, cannot be read at the dataset's own source."""

    recipe: Recipe
    mirrors: Mirrors
    copies: Copies
    """What mirrors have of all images that were asked for so far."""

    def rescored(
        self, scores: Sequence[Score], samples: Sequence[Sample], scenes: Sequence[Scene], survey: Survey
    ) -> list[Score]:
        """Return the scores; one that could not be made is made from the file of the first mirror that has a sound one.

        Raises
        ------
        TransientSourceError
            A mirror that is in turn does not answer: nothing is scored, or luck would choose the images.
        """
        held = {(score.sample_id, score.acquisition): score for score in scores}
        failed = {key: {OWN: UNREADABLE} for key, score in held.items() if score.error}
        names = {sample_id for sample_id, _ in failed} if self.copies.mirrors else set[str]()
        affected = [sample for sample in samples if sample.id in names]
        offers = dict(self._offers(affected, scenes))
        while failed and offers:
            moved = self._moved(failed, offers)
            failed = {key: {**failed[key], candidate.source: UNREADABLE} for key, (_, candidate) in moved.items()}
            for score in self._scored(moved, affected, survey):
                key = (score.sample_id, score.acquisition)
                if not score.error:
                    held[key] = replace(score, scene_ids=held[key].scene_ids)
                    del failed[key]
        return list(held.values())

    def _offers(self, samples: Sequence[Sample], scenes: Sequence[Scene]) -> Iterator[tuple[str, Mending]]:
        for sample, offered in offered_to(samples, scenes, self.recipe) if samples else ():
            yield sample.id, offered.mending({}, self.copies, self.recipe)

    def _moved(
        self, failed: Mapping[Key, Mapping[str, str]], offers: Mapping[str, Mending]
    ) -> dict[Key, tuple[Product, Candidate]]:
        """Return the images that failed as the next mirror in turn has them; those that none has are left out."""
        mendings = {name: replace(offers[name], faults=told) for name, told in _by_product(failed, offers).items()}
        self.copies, problem = look_up(mendings.values(), self.copies, self.recipe, self.mirrors)
        if problem:
            raise TransientSourceError(problem)
        known = {name: replace(mending, copies=self.copies, may_replace=True) for name, mending in mendings.items()}
        mended = (
            (name, acquisition, product, mending.mended(product, mending.offers[product][acquisition]))
            for name, mending in known.items()
            for product, images in mending.faults.items()
            for acquisition in images
        )
        return {(name, acquisition): (product, copy) for name, acquisition, product, copy in mended if copy is not None}

    def _scored(
        self, moved: Mapping[Key, tuple[Product, Candidate]], samples: Sequence[Sample], survey: Survey
    ) -> Iterator[Score]:
        groups: dict[tuple[str, Product], dict[str, list[Candidate]]] = {}
        for (sample_id, _), (product, candidate) in moved.items():
            groups.setdefault((candidate.source, product), {}).setdefault(sample_id, []).append(candidate)
        for (source, product), candidates in sorted(groups.items(), key=lambda group: group[0]):
            held = [sample for sample in samples if sample.id in candidates]
            band = MASK_BAND if product == "S2L2A" else needed_bands(product, self.recipe)[0]
            radar = self.recipe.resampling.S1 if product == "S1" else None
            yield from survey(survey_batches(held, candidates, band=band, radar=radar), self.mirrors.get(source))


def _by_product(
    failed: Mapping[Key, Mapping[str, str]], offers: Mapping[str, Mending]
) -> dict[str, dict[Product, dict[str, Mapping[str, str]]]]:
    """Return by sample, product and acquisition where an image cannot be read."""
    faults: dict[str, dict[Product, dict[str, Mapping[str, str]]]] = {}
    for (sample_id, acquisition), sources in failed.items():
        for product in SURVEYED:
            if acquisition in offers[sample_id].offers.get(product, {}):
                faults.setdefault(sample_id, {}).setdefault(product, {})[acquisition] = sources
    return faults


def mirror_lines(decided: Decided, recipe: Recipe, mirrors: Mirrors) -> Iterator[str]:
    """Yield for each mirror and product whether it has a scene that is planned: for what it can be of help."""
    if not mirrors.names:
        return
    planned = {asset.scene_id for row in decided.rows if row.choice for asset in row.choice.assets}
    examples: dict[Product, Scene] = {}
    for scene in decided.scenes:
        if scene.id in planned:
            examples.setdefault(scene.product, scene)
    for name in mirrors.names:
        for product, scene in examples.items():
            yield f"mirror {name}: {product}: {_help_of(name, scene, recipe, mirrors)}"


def _help_of(name: str, scene: Scene, recipe: Recipe, mirrors: Mirrors) -> str:
    try:
        copy = _copies_at(mirrors.get(name), name, scene.product, [scene], recipe)[0]
    except TransientSourceError as err:
        return f"not known, as it does not answer now ({err})"
    if copy.scene is None:
        return f"no help where {scene.id} is lost: {copy.problem}"
    if is_same_processing(copy, scene):
        return f"has the same {scene.id}"
    return (
        f"has {scene.id} in processing baseline {copy.scene.baseline or 'unknown'}, not {scene.baseline or 'unknown'}"
    )
