"""From samples, scenes and scores to the plan's rows: a pure function of what was found and surveyed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from pipeline.plan.candidates import (
    WHOLE,
    Candidate,
    find_candidates,
    level1c_choice,
    partnered,
    scenes_with,
    to_choice,
)
from pipeline.plan.labels import label_rows
from pipeline.plan.policies import Scores, hidden_share, optical_series, radar_series, told_reason
from pipeline.plan.request import Image
from pipeline.plan.seasons import select_seasons
from pipeline.plan.windows import Interval, season_windows, widened, windows_of
from pipeline.records import Choice, Modality, PlanRow, Product, Reason, Recipe, Sample, Scene

Offer = Mapping[str, tuple[Candidate, ...]]
"""Candidates by sample id, oldest first."""

MASK_BAND = "SCL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One place of a sample's optical series."""

    candidate: Candidate | None
    reason: str = ""
    alternates: tuple[Candidate, ...] = ()
    is_padding: bool = False


def plan_rows(
    samples: Sequence[Sample],
    scenes: Sequence[Scene],
    scores: Scores,
    recipe: Recipe,
    *,
    kinds: Sequence[Scene] | None = None,
) -> list[PlanRow]:
    """Decide every (sample, modality, timestep), in the order of samples, recipe and time.

    A Sentinel-1 modality for whose pass direction the source has no scene at all gets no rows: none among `kinds`,
    where `scenes` are only those near the samples.
    """
    offers = _offers(samples, scenes, recipe)
    for modality in recipe.wanted:
        if modality.product == "S1" and not _serving(modality, scenes if kinds is None else kinds, recipe):
            offers[modality.name] = None
    optical = next((offers[m.name] for m in recipe.wanted if m.product == "S2L2A"), None) or {}
    rows: list[PlanRow] = []
    for sample in samples:
        level1c = offers.get("S2L1C")
        frames = _optical_frames(sample, optical.get(sample.id, ()), level1c, scores, recipe)
        imagery = {
            modality.name: _rows(_Task(sample, modality, recipe, scores), frames, offers[modality.name])
            for modality in recipe.wanted
            if modality.product != "LABELS"
        }
        held = list(chain.from_iterable(imagery.values()))
        for modality in recipe.wanted:
            rows += imagery[modality.name] if modality.name in imagery else label_rows(sample, modality, held)
    return rows


def needed_bands(product: Product, recipe: Recipe) -> tuple[str, ...]:
    """Return every band that a scene of `product` must have: modalities of one product share their acquisitions."""
    bands = [band for m in recipe.wanted if m.product == product for band in recipe.bands_of(m.name)]
    if bands and product == "S2L2A":
        bands.append(MASK_BAND)
    return tuple(dict.fromkeys(bands))


def optical_offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe) -> Offer:
    """Return the Sentinel-2 acquisitions that could serve each sample; none when the recipe has no Sentinel-2."""
    bands = needed_bands("S2L2A", recipe)
    serving = [scene for scene in scenes if scene.product == "S2L2A"] if bands else []
    return find_candidates(samples, scenes_with(serving, bands, None), lambda sample: windows_of(sample, recipe))


def radar_offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe) -> Offer:
    """Return the Sentinel-1 acquisitions that could serve each sample; none when the recipe has no Sentinel-1."""
    found: dict[str, dict[str, Candidate]] = {sample.id: {} for sample in samples}
    for modality in recipe.wanted:
        if modality.product == "S1":
            for name, candidates in _offer(samples, scenes, recipe, modality).items():
                found[name].update({candidate.acquisition: candidate for candidate in candidates})
    return {name: tuple(candidates.values()) for name, candidates in found.items()}


def radar_windows(sample: Sample, recipe: Recipe) -> tuple[Interval, ...]:
    """Return when radar of a sample may be from: seasons are widened by the largest gap of a pair."""
    intervals = windows_of(sample, recipe)
    return widened(intervals, recipe.pairing.max_gap) if recipe.seasons is not None else intervals


@dataclass(frozen=True, slots=True)
class _Task:
    sample: Sample
    modality: Modality
    recipe: Recipe
    scores: Scores

    def row(self, step: int, choice: Choice | None, reason: str, alternates: Sequence[Choice] = ()) -> PlanRow:
        return PlanRow(
            sample_id=self.sample.id,
            modality=self.modality.name,
            timestep=step,
            choice=choice,
            reason="" if choice else str(reason),
            alternates=tuple(alternates)[: self.recipe.alternates],
        )

    def choice(self, candidate: Candidate) -> Choice:
        bands = self.recipe.bands_of(self.modality.name)
        mask = MASK_BAND if self.modality.product == "S2L2A" else ""
        return to_choice(candidate, bands, self.scores.get((self.sample.id, candidate.acquisition)), mask=mask)


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
    serving = _serving(modality, scenes, recipe)
    if not modality.is_series:
        return find_candidates(samples, serving, None)
    within = radar_windows if modality.product == "S1" else windows_of
    return find_candidates(samples, serving, lambda sample: within(sample, recipe))


def _rows(task: _Task, frames: Sequence[Frame], offer: Offer | None) -> list[PlanRow]:
    if offer is None:
        return []
    candidates = offer[task.sample.id]
    if not task.modality.is_series:
        return [_static_row(task, candidates)]
    if task.modality.product == "S1" and task.recipe.seasons is None:
        return _radar_series_rows(task, candidates)
    row = _ROWS[task.modality.product]
    return [row(task, step, frame, candidates) for step, frame in enumerate(frames)]


def _static_row(task: _Task, candidates: Sequence[Candidate]) -> PlanRow:
    day = task.sample.date

    def rank(candidate: Candidate) -> tuple[float, timedelta, datetime]:
        away = abs(candidate.acquired - day) if day else timedelta(0)
        return (candidate.reach, -away, candidate.acquired)

    best = max(candidates, key=rank, default=None)
    return task.row(0, task.choice(best) if best else None, Reason.NO_COVERAGE)


def _own_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:  # noqa: ARG001
    choice = task.choice(frame.candidate) if frame.candidate else None
    spare = frame.alternates[: task.recipe.alternates]
    row = task.row(step, choice, frame.reason, [task.choice(candidate) for candidate in spare])
    return replace(row, is_padding=frame.is_padding)


def _level1c_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:
    by_name = {candidate.acquisition: candidate for candidate in candidates}
    bands = task.recipe.bands_of(task.modality.name)

    def choice(candidate: Candidate) -> Choice:
        return level1c_choice(candidate, by_name[candidate.acquisition], bands, MASK_BAND)

    chosen = choice(frame.candidate) if frame.candidate else None
    spare = frame.alternates[: task.recipe.alternates]
    row = task.row(step, chosen, frame.reason, [choice(candidate) for candidate in spare])
    return replace(row, is_padding=frame.is_padding)


def _paired_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:
    if frame.candidate is None:
        return task.row(step, None, frame.reason)
    moment = frame.candidate.acquired
    gap = timedelta(days=task.recipe.pairing.max_gap)
    near = [c for c in candidates if c.reach >= WHOLE and abs(c.acquired - moment) <= gap]
    near.sort(key=lambda c: (abs(c.acquired - moment), c.acquired, c.acquisition))
    choices = [task.choice(candidate) for candidate in near[: 1 + task.recipe.alternates]]
    return task.row(step, choices[0] if choices else None, Reason.NO_PAIR, choices[1:])


_ROWS: Mapping[Product, Callable[[_Task, int, Frame, Sequence[Candidate]], PlanRow]] = {
    "S2L2A": _own_row,
    "S2L1C": _level1c_row,
    "S1": _paired_row,
}


def _optical_frames(
    sample: Sample, candidates: Sequence[Candidate], level1c: Offer | None, scores: Scores, recipe: Recipe
) -> list[Frame]:
    if level1c is not None:
        candidates = partnered(candidates, level1c[sample.id])
    if recipe.seasons is not None:
        images = [
            Image(name=c.acquisition, acquired=c.acquired, bad=hidden_share(sample, c, scores, recipe))
            for c in candidates
        ]
        windows = season_windows(sample, recipe.seasons, seed=recipe.seed)
        series = select_seasons(images, windows, max_bad=recipe.max_cloud, choose=recipe.seasons.choose)
        pairs = list(zip(series.images, series.alternates, strict=True))
        reasons = [told_reason(reason, sample, candidates, scores) for reason in series.missing]
        return _frames(pairs, reasons, candidates)
    if sample.date is None:
        return []
    single = optical_series(sample, candidates, scores, recipe)
    frames = _frames([(image, single.alternates) for image in single.images], single.missing, candidates)
    return _padded(frames, single.padding)


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
    return [_own_row(task, step, frame, candidates) for step, frame in enumerate(frames)]
