"""From samples, scenes and scores to the plan's rows: a pure function of what was found and surveyed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.plan.candidates import WHOLE, Candidate, find_candidates, scenes_with, series_window, to_choice
from pipeline.plan.series import Image, SeriesRequest, select_series
from pipeline.records import Choice, Modality, PlanRow, Product, Reason, Recipe, Sample, Scene, Score

Scores = Mapping[tuple[str, str], Score]
"""Scores by sample id and acquisition."""

MASK_BAND = "SCL"


def plan_rows(samples: Sequence[Sample], scenes: Sequence[Scene], scores: Scores, recipe: Recipe) -> list[PlanRow]:
    """Decide every (sample, modality, timestep), in the order of samples, recipe and time.

    A Sentinel-1 modality for whose pass direction the source has no scene at all gets no rows.
    """
    rows: list[PlanRow] = []
    for modality in recipe.wanted:
        rows += _modality_rows(samples, scenes, scores, recipe, modality)
    rank = {sample.id: index for index, sample in enumerate(samples)}
    rows.sort(key=lambda row: (rank[row.sample_id], recipe.modalities.index(row.modality), row.timestep))
    return rows


def needed_bands(product: Product, recipe: Recipe) -> tuple[str, ...]:
    """Return every band that a scene of `product` must have: modalities of one product share their acquisitions."""
    bands = [band for m in recipe.wanted if m.product == product for band in recipe.bands_of(m.name)]
    if bands and product == "S2L2A":
        bands.append(MASK_BAND)
    return tuple(dict.fromkeys(bands))


def _modality_rows(
    samples: Sequence[Sample], scenes: Sequence[Scene], scores: Scores, recipe: Recipe, modality: Modality
) -> list[PlanRow]:
    if modality.product == "LABELS":
        return [_label_row(sample, modality) for sample in samples]
    serving = scenes_with(
        (scene for scene in scenes if scene.product == modality.product),
        needed_bands(modality.product, recipe),
        modality.orbit_state,
    )
    if modality.product == "S1" and not serving:
        return []
    window = recipe.window if modality.is_series else None
    candidates = find_candidates(samples, serving, window)
    if modality.is_series:
        return [row for s in samples for row in _series_rows(s, candidates[s.id], scores, recipe, modality)]
    return [_static_row(sample, candidates[sample.id], recipe, modality) for sample in samples]


def _label_row(sample: Sample, modality: Modality) -> PlanRow:
    moment = sample.date
    choice = None
    if moment is not None:
        choice = Choice(acquisition="labels", acquired=moment, file_id="", assets=())
    return PlanRow(
        sample_id=sample.id,
        modality=modality.name,
        timestep=0,
        choice=choice,
        reason="" if choice else Reason.NO_COVERAGE,
    )


def _static_row(sample: Sample, candidates: Sequence[Candidate], recipe: Recipe, modality: Modality) -> PlanRow:
    best = max(candidates, key=lambda candidate: (candidate.reach, candidate.acquired), default=None)
    return PlanRow(
        sample_id=sample.id,
        modality=modality.name,
        timestep=0,
        choice=to_choice(best, recipe.bands_of(modality.name), None) if best else None,
        reason="" if best else Reason.NO_COVERAGE,
    )


def _series_rows(
    sample: Sample, candidates: Sequence[Candidate], scores: Scores, recipe: Recipe, modality: Modality
) -> list[PlanRow]:
    if sample.date is None:
        return []
    by_name = {candidate.acquisition: candidate for candidate in candidates}
    events = sample.event_dates or (sample.date,)
    request = SeriesRequest(
        events=events,
        start=series_window(events[0], recipe.window)[0],
        end=series_window(events[-1], recipe.window)[1],
        length=recipe.series_length,
        max_bad=recipe.max_cloud if modality.product == "S2L2A" else 1.0,
    )
    series = select_series(_images(sample, candidates, scores, modality), request)
    alternates = tuple(
        _choice(sample, by_name[image.name], scores, recipe, modality)
        for image in series.alternates[: recipe.alternates]
    )
    template = PlanRow(sample_id=sample.id, modality=modality.name, timestep=0, choice=None)
    rows = [
        replace(
            template,
            timestep=step,
            choice=_choice(sample, by_name[image.name], scores, recipe, modality),
            alternates=alternates,
        )
        for step, image in enumerate(series.images)
    ]
    taken = len(rows)
    rows += [replace(template, timestep=taken + step, reason=str(why)) for step, why in enumerate(series.missing)]
    return rows


def _images(sample: Sample, candidates: Sequence[Candidate], scores: Scores, modality: Modality) -> list[Image]:
    """Return what a series may choose from: radar must reach the whole patch, optical scenes are judged by score."""
    if modality.product != "S2L2A":
        whole = [candidate for candidate in candidates if candidate.reach >= WHOLE]
        return [Image(name=c.acquisition, acquired=c.acquired, bad=1.0 - c.reach) for c in whole]
    return [Image(name=c.acquisition, acquired=c.acquired, bad=_bad(sample, c, scores)) for c in candidates]


def _bad(sample: Sample, candidate: Candidate, scores: Scores) -> float:
    score = scores.get((sample.id, candidate.acquisition))
    return math.inf if score is None or score.error else score.bad


def _choice(sample: Sample, candidate: Candidate, scores: Scores, recipe: Recipe, modality: Modality) -> Choice:
    is_optical = modality.product == "S2L2A"
    return to_choice(
        candidate,
        recipe.bands_of(modality.name),
        scores.get((sample.id, candidate.acquisition)) if is_optical else None,
        mask=MASK_BAND if is_optical else "",
    )
