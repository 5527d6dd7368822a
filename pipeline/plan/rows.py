"""From samples, scenes and scores to the plan's rows: a pure function of what was found and surveyed."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter

from pipeline.plan.candidates import WHOLE, Candidate, find_candidates, partnered, scenes_with
from pipeline.plan.choices import Choices, mask_band
from pipeline.plan.labels import label_rows
from pipeline.plan.mirrored import NO_COPIES, Copies, Faults, Mending, faults_by_sample
from pipeline.plan.overlaps import Windows
from pipeline.plan.own import clear_candidates, own_images, own_windows
from pipeline.plan.policies import Scores, hidden_share, optical_series, own_series, radar_series, told_reason
from pipeline.plan.replacing import stand_ins
from pipeline.plan.request import Image
from pipeline.plan.seasons import SeasonalSeries, select_seasons
from pipeline.plan.windows import Interval, season_windows, widened, windows_of
from pipeline.records import Choice, Modality, OwnModality, PlanRow, Product, Reason, Recipe, Sample, Scene, Unreadable
from pipeline.records.recipe import Seasons

Offer = Mapping[str, tuple[Candidate, ...]]
"""Candidates by sample id, oldest first."""

UNDATED: tuple[Product, ...] = ("DEM", "LULC")
"""Products whose scenes may be of any date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One place of a sample's optical series."""

    candidate: Candidate | None
    reason: str = ""
    alternates: tuple[Candidate, ...] = ()
    is_padding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What could serve one sample, oldest first."""

    optical: Sequence[Candidate]
    imagery: Mapping[str, Sequence[Candidate] | None]
    """By modality; None where the source has no scene at all of what the modality asks for."""

    def mended(self, mending: Mending, recipe: Recipe) -> "Offered":
        """Return what is left when images are of no use where they were planned: copies, and other images."""
        imagery = {
            name: None if offer is None else _sound(offer, mending, recipe.modality(name).product)
            for name, offer in self.imagery.items()
        }
        return Offered(optical=_sound(self.optical, mending, "S2L2A"), imagery=imagery)

    def mending(self, faults: Faults, copies: Copies, recipe: Recipe) -> Mending:
        """Return what becomes of images that are of no use where they were planned."""
        offers: dict[Product, dict[str, Candidate]] = {"S2L2A": {c.acquisition: c for c in self.optical}}
        for name, offer in self.imagery.items():
            held = offers.setdefault(recipe.modality(name).product, {})
            held.update({candidate.acquisition: candidate for candidate in offer or ()})
        return Mending(faults=faults, copies=copies, offers=offers, may_replace=recipe.alternates > 0)


def _sound(candidates: Sequence[Candidate], mending: Mending, product: Product) -> list[Candidate]:
    mended = (mending.mended(product, candidate) for candidate in candidates)
    return [candidate for candidate in mended if candidate is not None]


def plan_rows(  # noqa: PLR0913
    samples: Sequence[Sample],
    scenes: Sequence[Scene],
    scores: Scores,
    recipe: Recipe,
    unreadable: Sequence[Unreadable] = (),
    *,
    kinds: Sequence[Scene] | None = None,
    copies: Copies = NO_COPIES,
) -> list[PlanRow]:
    """Decide every (sample, modality, timestep), in the order of samples, recipe and time.

    A Sentinel-1 modality for whose pass direction the source has no scene at all gets no rows: none among `kinds`,
    where `scenes` are only those near the samples. What is `unreadable` is read from the first mirror among `copies`
    that has it. Where none has, it is not chosen: the next best image stands in, the row says for which one, and where
    none is left it is missing for the lost image's reason. A Sentinel-2 image that one level lacks serves no other
    level either.
    """
    faults, choices = faults_by_sample(unreadable), Choices(recipe)
    rows: list[PlanRow] = []
    for sample, offered in offered_to(samples, scenes, recipe, kinds=kinds):
        imagery = _imagery(sample, offered, scores, choices)
        if sample.id in faults:
            mending = offered.mending(faults[sample.id], copies, recipe)
            left = _imagery(sample, offered.mended(mending, recipe), scores, choices)
            lost = mending.lost()
            for name, first in imagery.items():
                product = recipe.modality(name).product
                imagery[name] = [mending.told(row, product) for row in stand_ins(first, left[name], lost)]
        held = list(chain.from_iterable(imagery[m.name] for m in recipe.wanted if m.is_series and m.name in imagery))
        for modality in recipe.wanted:
            rows += imagery[modality.name] if modality.name in imagery else label_rows(sample, modality, held)
    return rows


def offered_to(
    samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe, *, kinds: Sequence[Scene] | None = None
) -> Iterator[tuple[Sample, Offered]]:
    """Yield each sample with what could serve it; `kinds` as `plan_rows` takes it."""
    offers = _offers(samples, scenes, recipe)
    for modality in recipe.wanted:
        if modality.product == "S1" and not _serving(modality, scenes if kinds is None else kinds, recipe):
            offers[modality.name] = None
    optical = next((offers[m.name] for m in recipe.wanted if m.product == "S2L2A"), None) or {}
    for sample in samples:
        yield (
            sample,
            Offered(
                optical=optical.get(sample.id, ()),
                imagery={name: None if offer is None else offer[sample.id] for name, offer in offers.items()},
            ),
        )


def _imagery(sample: Sample, offered: Offered, scores: Scores, choices: Choices) -> dict[str, list[PlanRow]]:
    """Return the rows of one sample by modality, labels apart."""
    recipe = choices.recipe
    frames = _optical_frames(sample, offered.optical, offered.imagery.get("S2L1C"), scores, recipe)
    return {
        modality.name: _rows(_Task(sample, modality, scores, choices), frames, offered.imagery[modality.name])
        for modality in recipe.wanted
        if modality.product != "LABELS"
    }


def needed_bands(product: Product, recipe: Recipe) -> tuple[str, ...]:
    """Return every band that a scene of `product` must have: modalities of one product share their acquisitions."""
    bands = [band for m in recipe.wanted if m.product == product for band in recipe.bands_of(m.name)]
    if bands:
        bands.append(mask_band(product, recipe))
    return tuple(dict.fromkeys(band for band in bands if band))


def optical_offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe) -> Offer:
    """Return the Sentinel-2 acquisitions that could serve each sample; none when the recipe has no Sentinel-2."""
    bands = needed_bands("S2L2A", recipe)
    serving = [scene for scene in scenes if scene.product == "S2L2A"] if bands else []
    return find_candidates(samples, scenes_with(serving, bands, None), lambda sample: windows_of(sample, recipe))


def chosen_optical(
    samples: Sequence[Sample], scenes: Sequence[Scene], offer: Offer, scores: Scores, recipe: Recipe
) -> dict[str, list[Candidate]]:
    """Return the Sentinel-2 acquisitions of those on `offer` that each sample's series is made of."""
    level1c = next((modality for modality in recipe.wanted if modality.product == "S2L1C"), None)
    partners = _offer(samples, scenes, recipe, level1c) if level1c else {}
    chosen = {}
    for sample in samples:
        frames = _optical_frames(sample, offer[sample.id], partners.get(sample.id), scores, recipe)
        chosen[sample.id] = [frame.candidate for frame in frames if frame.candidate is not None]
    return chosen


def radar_offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe) -> Offer:
    """Return the Sentinel-1 acquisitions that could serve each sample; none when the recipe has no Sentinel-1."""
    found: dict[str, dict[str, Candidate]] = {sample.id: {} for sample in samples}
    for modality in recipe.wanted:
        if modality.product == "S1":
            for name, candidates in _offer(samples, scenes, recipe, modality).items():
                found[name].update({candidate.acquisition: candidate for candidate in candidates})
    return {name: tuple(candidates.values()) for name, candidates in found.items()}


def windows_for(product: Product, recipe: Recipe) -> Windows | None:
    """Return what says when scenes of `product` may be from, for each sample; None where any date will do."""
    own = recipe.own_modalities.get(product)
    if own is not None:
        return None if own.is_undated else lambda sample: own_windows(sample, own, recipe)
    if product in UNDATED:
        return None
    within = radar_windows if product == "S1" else windows_of
    return lambda sample: within(sample, recipe)


def radar_windows(sample: Sample, recipe: Recipe) -> tuple[Interval, ...]:
    """Return when radar of a sample may be from: seasons are widened by the largest gap of a pair."""
    intervals = windows_of(sample, recipe)
    return widened(intervals, recipe.pairing.max_gap) if recipe.seasons is not None else intervals


@dataclass(frozen=True, slots=True)
class _Task:
    sample: Sample
    modality: Modality
    scores: Scores
    choices: Choices

    @property
    def recipe(self) -> Recipe:
        """What the rows are for."""
        return self.choices.recipe

    @property
    def own(self) -> OwnModality | None:
        """What the recipe says of the modality, where it is the recipe's own."""
        return self.recipe.own_modalities.get(self.modality.name)

    @property
    def max_gap(self) -> timedelta:
        """Largest difference in time to the optical image of a pair."""
        days = self.own.max_gap if self.own else None
        return timedelta(days=self.recipe.pairing.max_gap if days is None else days)

    def row(
        self,
        step: int,
        choice: Choice | None,
        reason: str,
        alternates: Sequence[Choice] = (),
        *,
        is_padding: bool = False,
    ) -> PlanRow:
        return PlanRow(
            sample_id=self.sample.id,
            modality=self.modality.name,
            timestep=step,
            choice=choice,
            reason="" if choice else str(reason),
            alternates=tuple(alternates)[: self.recipe.alternates],
            is_padding=is_padding,
        )

    def choice(self, candidate: Candidate) -> Choice:
        score = self.scores.get((self.sample.id, candidate.acquisition))
        return self.choices.of(candidate, self.modality.name, score)


def _offers(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe) -> dict[str, Offer | None]:
    """Return the candidates for each modality but labels; those of the same acquisitions share theirs."""
    offers: dict[str, Offer | None] = {}
    shared: dict[tuple[Product, str | None], Offer] = {}
    for modality in recipe.wanted:
        if modality.product != "LABELS":
            key = (modality.product, modality.orbit_state)
            if key not in shared:
                shared[key] = _offer(samples, scenes, recipe, modality)
            offers[modality.name] = shared[key]
    return offers


def _serving(modality: Modality, scenes: Sequence[Scene], recipe: Recipe) -> list[Scene]:
    """Return the scenes that have what a modality needs."""
    orbit = modality.orbit_state
    if modality.product == "S1" and orbit is None:
        orbit = recipe.pairing.orbit_state
    bands = needed_bands(modality.product, recipe)
    return scenes_with((scene for scene in scenes if scene.product == modality.product), bands, orbit)


def _offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe, modality: Modality) -> Offer:
    return find_candidates(samples, _serving(modality, scenes, recipe), windows_for(modality.product, recipe))


def _rows(task: _Task, frames: Sequence[Frame], candidates: Sequence[Candidate] | None) -> list[PlanRow]:
    if candidates is None:
        return []
    if task.own is not None and task.own.time == "series":
        return _own_series_rows(task, task.own, candidates)
    if task.own is not None:
        candidates = clear_candidates(candidates, task.own)
    if not task.modality.is_series:
        return [_static_row(task, candidates)]
    if task.modality.product == "S1" and task.recipe.seasons is None:
        return _radar_series_rows(task, candidates)
    row = _ROWS.get(task.modality.product, _paired_row)
    return [row(task, step, frame, candidates) for step, frame in enumerate(frames)]


def _static_row(task: _Task, candidates: Sequence[Candidate]) -> PlanRow:
    day = task.sample.date

    def rank(candidate: Candidate) -> tuple[float, timedelta, datetime]:
        away = abs(candidate.acquired - day) if day else timedelta(0)
        return (candidate.reach, -away, candidate.acquired)

    best = max(candidates, key=rank, default=None)
    return task.row(0, task.choice(best) if best else None, Reason.NO_COVERAGE)


def _chosen_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:  # noqa: ARG001
    choice = task.choice(frame.candidate) if frame.candidate else None
    spare = frame.alternates[: task.recipe.alternates]
    others = [task.choice(candidate) for candidate in spare]
    return task.row(step, choice, frame.reason, others, is_padding=frame.is_padding)


def _level1c_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:
    by_name = {candidate.acquisition: candidate for candidate in candidates}

    def choice(candidate: Candidate) -> Choice:
        return task.choices.level1c(candidate, by_name[candidate.acquisition], task.modality.name)

    chosen = choice(frame.candidate) if frame.candidate else None
    spare = frame.alternates[: task.recipe.alternates]
    others = [choice(candidate) for candidate in spare]
    return task.row(step, chosen, frame.reason, others, is_padding=frame.is_padding)


def _paired_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:
    if frame.candidate is None:
        return task.row(step, None, frame.reason)
    moment, most = frame.candidate.acquired, task.max_gap
    # Candidates come oldest first.
    first = bisect_left(candidates, moment - most, key=_acquired)
    last = bisect_right(candidates, moment + most, key=_acquired)
    near = [candidate for candidate in candidates[first:last] if candidate.reach >= WHOLE]
    near.sort(key=lambda c: (abs(c.acquired - moment), c.acquired, c.acquisition))
    choices = [task.choice(candidate) for candidate in near[: 1 + task.recipe.alternates]]
    return task.row(step, choices[0] if choices else None, Reason.NO_PAIR, choices[1:])


_ROWS: Mapping[Product, Callable[[_Task, int, Frame, Sequence[Candidate]], PlanRow]] = {
    "S2L2A": _chosen_row,
    "S2L1C": _level1c_row,
    "S1": _paired_row,
}
_acquired = attrgetter("acquired")


def _optical_frames(
    sample: Sample,
    candidates: Sequence[Candidate],
    level1c: Sequence[Candidate] | None,
    scores: Scores,
    recipe: Recipe,
) -> list[Frame]:
    if level1c is not None:
        candidates = partnered(candidates, level1c)
    if recipe.seasons is not None:
        images = [
            Image(name=c.acquisition, acquired=c.acquired, bad=hidden_share(sample, c, scores, recipe))
            for c in candidates
        ]
        series = _seasonal(sample, images, recipe.max_cloud, recipe.seasons, recipe.seed)
        reasons = [told_reason(reason, sample, candidates, scores) for reason in series.missing]
        return _frames(_pairs(series), reasons, candidates)
    if sample.date is None:
        return []
    single = optical_series(sample, candidates, scores, recipe)
    frames = _frames([(image, single.alternates) for image in single.images], single.missing, candidates)
    return _padded(frames, single.padding)


def _seasonal(sample: Sample, images: Sequence[Image], max_bad: float, seasons: Seasons, seed: int) -> SeasonalSeries:
    windows = season_windows(sample, seasons, seed=seed)
    return select_seasons(images, windows, max_bad=max_bad, choose=seasons.choose)


def _pairs(series: SeasonalSeries) -> list[tuple[Image, tuple[Image, ...]]]:
    return list(zip(series.images, series.alternates, strict=True))


def _frames(
    images: Sequence[tuple[Image, Sequence[Image]]], missing: Sequence[Reason], candidates: Sequence[Candidate]
) -> list[Frame]:
    by_name = {candidate.acquisition: candidate for candidate in candidates}
    frames = [
        Frame(candidate=by_name[image.name], alternates=tuple(by_name[other.name] for other in others))
        for image, others in images
    ]
    return frames + [Frame(candidate=None, reason=str(reason)) for reason in missing]


def _padded(frames: list[Frame], padding: int) -> list[Frame]:
    return [*frames, *[replace(frames[-1], is_padding=True)] * padding] if padding else frames


def _radar_series_rows(task: _Task, candidates: Sequence[Candidate]) -> list[PlanRow]:
    if task.sample.date is None:
        return []
    series = radar_series(task.sample, candidates, task.scores, task.recipe)
    frames = _frames([(image, series.alternates) for image in series.images], series.missing, candidates)
    frames = _padded(frames, series.padding)
    return [_chosen_row(task, step, frame, candidates) for step, frame in enumerate(frames)]


def _own_series_rows(task: _Task, own: OwnModality, candidates: Sequence[Candidate]) -> list[PlanRow]:
    """Choose a series of the recipe's own by the recipe's seasons or window, clouds as whole images state them."""
    images, seasons = own_images(candidates, own), task.recipe.seasons
    if seasons is not None:
        seasonal = _seasonal(task.sample, images, 1.0, seasons, task.recipe.seed)
        frames = _frames(_pairs(seasonal), seasonal.missing, candidates)
    elif task.sample.date is None:
        return []
    else:
        series = own_series(task.sample, images, candidates, task.recipe)
        pairs = [(image, series.alternates) for image in series.images]
        frames = _padded(_frames(pairs, series.missing, candidates), series.padding)
    return [_chosen_row(task, step, frame, candidates) for step, frame in enumerate(frames)]
