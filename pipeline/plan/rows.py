"""From samples, scenes and scores to the plan's rows: a pure function of what was found and surveyed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.plan.candidates import (
    WHOLE,
    Candidate,
    find_candidates,
    level1c_choice,
    partnered,
    scenes_with,
    to_choice,
)
from pipeline.plan.seasons import select_seasons
from pipeline.plan.series import Image, SeriesRequest, select_series
from pipeline.plan.windows import Interval, season_windows, widened, windows_of
from pipeline.records import Choice, Modality, PlanRow, Product, Reason, Recipe, Sample, Scene, Score

Scores = Mapping[tuple[str, str], Score]
"""Scores by sample id and acquisition."""

Offer = Mapping[str, tuple[Candidate, ...]]
"""Candidates by sample id, oldest first."""

MASK_BAND = "SCL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One place of a sample's optical series."""

    candidate: Candidate | None
    reason: str = ""
    alternates: tuple[Candidate, ...] = ()


def plan_rows(samples: Sequence[Sample], scenes: Sequence[Scene], scores: Scores, recipe: Recipe) -> list[PlanRow]:
    """Decide every (sample, modality, timestep), in the order of samples, recipe and time.

    A Sentinel-1 modality for whose pass direction the source has no scene at all gets no rows.
    """
    offers = {
        modality.name: _offer(samples, scenes, recipe, modality)
        for modality in recipe.wanted
        if modality.product != "LABELS"
    }
    optical = optical_offer(samples, scenes, recipe)
    rows: list[PlanRow] = []
    for sample in samples:
        level1c = offers.get("S2L1C")
        frames = _optical_frames(sample, optical.get(sample.id, ()), level1c, scores, recipe)
        for modality in recipe.wanted:
            rows += _rows(_Task(sample, modality, recipe, scores), frames, offers.get(modality.name))
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
        if self.modality.product != "S2L2A":
            return to_choice(candidate, bands, None)
        return to_choice(candidate, bands, self.scores.get((self.sample.id, candidate.acquisition)), mask=MASK_BAND)


def _offer(samples: Sequence[Sample], scenes: Sequence[Scene], recipe: Recipe, modality: Modality) -> Offer | None:
    orbit = modality.orbit_state
    if modality.product == "S1" and orbit is None:
        orbit = recipe.pairing.orbit_state
    bands = needed_bands(modality.product, recipe)
    serving = scenes_with((scene for scene in scenes if scene.product == modality.product), bands, orbit)
    if modality.product == "S1" and not serving:
        return None
    if not modality.is_series:
        return find_candidates(samples, serving, None)
    within = radar_windows if modality.product == "S1" else windows_of
    return find_candidates(samples, serving, lambda sample: within(sample, recipe))


def _rows(task: _Task, frames: Sequence[Frame], offer: Offer | None) -> list[PlanRow]:
    if task.modality.product == "LABELS":
        return [_label_row(task)]
    if offer is None:
        return []
    candidates = offer[task.sample.id]
    if not task.modality.is_series:
        return [_static_row(task, candidates)]
    if task.modality.product == "S1" and task.recipe.seasons is None:
        return _radar_series_rows(task, candidates)
    row = _ROWS[task.modality.product]
    return [row(task, step, frame, candidates) for step, frame in enumerate(frames)]


def _label_row(task: _Task) -> PlanRow:
    day = task.sample.date
    choice = Choice(acquisition="labels", acquired=day, file_id="", assets=()) if day else None
    return task.row(0, choice, Reason.NO_COVERAGE)


def _static_row(task: _Task, candidates: Sequence[Candidate]) -> PlanRow:
    day = task.sample.date

    def rank(candidate: Candidate) -> tuple[float, timedelta, datetime]:
        away = abs(candidate.acquired - day) if day else timedelta(0)
        return (candidate.reach, -away, candidate.acquired)

    best = max(candidates, key=rank, default=None)
    return task.row(0, task.choice(best) if best else None, Reason.NO_COVERAGE)


def _optical_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:  # noqa: ARG001
    choice = task.choice(frame.candidate) if frame.candidate else None
    return task.row(step, choice, frame.reason, [task.choice(candidate) for candidate in frame.alternates])


def _level1c_row(task: _Task, step: int, frame: Frame, candidates: Sequence[Candidate]) -> PlanRow:
    by_name = {candidate.acquisition: candidate for candidate in candidates}
    bands = task.recipe.bands_of(task.modality.name)

    def choice(candidate: Candidate) -> Choice:
        return level1c_choice(candidate, by_name[candidate.acquisition], bands, MASK_BAND)

    chosen = choice(frame.candidate) if frame.candidate else None
    return task.row(step, chosen, frame.reason, [choice(candidate) for candidate in frame.alternates])


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
    "S2L2A": _optical_row,
    "S2L1C": _level1c_row,
    "S1": _paired_row,
}


def _optical_frames(
    sample: Sample, candidates: Sequence[Candidate], level1c: Offer | None, scores: Scores, recipe: Recipe
) -> list[Frame]:
    if level1c is not None:
        candidates = partnered(candidates, level1c[sample.id])
    images = [Image(name=c.acquisition, acquired=c.acquired, bad=_bad(sample, c, scores, recipe)) for c in candidates]
    by_name = {candidate.acquisition: candidate for candidate in candidates}
    if recipe.seasons is not None:
        windows = season_windows(sample, recipe.seasons, seed=recipe.seed)
        series = select_seasons(images, windows, max_bad=recipe.max_cloud, choose=recipe.seasons.choose)
        frames = [
            _frame(image, others, by_name) for image, others in zip(series.images, series.alternates, strict=True)
        ]
        return frames + [
            Frame(candidate=None, reason=_why(reason, sample, candidates, scores)) for reason in series.missing
        ]
    if sample.date is None:
        return []
    single = select_series(images, _request(sample, recipe, recipe.max_cloud))
    frames = [_frame(image, single.alternates, by_name) for image in single.images]
    return frames + [
        Frame(candidate=None, reason=_why(reason, sample, candidates, scores)) for reason in single.missing
    ]


def _why(reason: Reason, sample: Sample, candidates: Sequence[Candidate], scores: Scores) -> str:
    """Return `reason`, or that nothing could be read where no classification of the sample could."""
    seen = [scores.get((sample.id, candidate.acquisition)) for candidate in candidates]
    is_blind = bool(seen) and all(score is not None and score.error for score in seen)
    return str(Reason.UNREADABLE if reason is Reason.TOO_CLOUDY and is_blind else reason)


def _frame(image: Image, others: Sequence[Image], by_name: Mapping[str, Candidate]) -> Frame:
    return Frame(candidate=by_name[image.name], alternates=tuple(by_name[other.name] for other in others))


def _radar_series_rows(task: _Task, candidates: Sequence[Candidate]) -> list[PlanRow]:
    if task.sample.date is None:
        return []
    whole = {candidate.acquisition: candidate for candidate in candidates if candidate.reach >= WHOLE}
    images = [Image(name=c.acquisition, acquired=c.acquired, bad=1.0 - c.reach) for c in whole.values()]
    series = select_series(images, _request(task.sample, task.recipe, 1.0))
    spare = [task.choice(whole[image.name]) for image in series.alternates[: task.recipe.alternates]]
    rows = [task.row(step, task.choice(whole[image.name]), "", spare) for step, image in enumerate(series.images)]
    return rows + [task.row(len(rows) + step, None, reason) for step, reason in enumerate(series.missing)]


def _request(sample: Sample, recipe: Recipe, max_bad: float) -> SeriesRequest:
    ((start, end),) = windows_of(sample, recipe)
    days = sample.event_dates or ((sample.date,) if sample.date else ())
    return SeriesRequest(events=days, start=start, end=end, length=recipe.series_length, max_bad=max_bad)


def _bad(sample: Sample, candidate: Candidate, scores: Scores, recipe: Recipe) -> float:
    score = scores.get((sample.id, candidate.acquisition))
    if score is None or score.error:
        return math.inf
    if recipe.max_missing is not None and score.nodata > recipe.max_missing:
        return math.inf
    return score.bad
