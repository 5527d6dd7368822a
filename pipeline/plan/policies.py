"""Which images are usable, and which policy chooses among them: the recipe's rules for series around an event."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.plan.candidates import WHOLE, Candidate
from pipeline.plan.compat_series import MAX_MISSING, select_compat
from pipeline.plan.request import Image, Series, SeriesRequest, refused
from pipeline.plan.series import select_series
from pipeline.plan.windows import event_spans, windows_of
from pipeline.records import Product, Reason, Recipe, Sample, Score

Scores = Mapping[tuple[str, str], Score]
"""Scores by sample id and acquisition."""

SHARE_DIGITS = 12
"""Sums of equal shares may differ behind these digits; a patch has fewer pixels."""


def is_measured(recipe: Recipe) -> bool:
    """Tell whether radar is judged by its own pixels, which the survey then reads."""
    return recipe.window is not None and recipe.series.radar == "measured"


def judged_products(recipe: Recipe) -> tuple[Product, ...]:
    """Return the products whose scenes the survey looks at, and those that decide with them."""
    return ("S2L2A", "S2L1C", "S1") if is_measured(recipe) else ("S2L2A", "S2L1C")


def optical_series(sample: Sample, candidates: Sequence[Candidate], scores: Scores, recipe: Recipe) -> Series:
    """Choose the Sentinel-2 images of a dated sample."""
    if recipe.series.policy == "compat":
        most = MAX_MISSING if recipe.max_missing is None else min(MAX_MISSING, recipe.max_missing)
        images = [
            _image(candidate, round(score.unclear, SHARE_DIGITS))
            for candidate in candidates
            if (score := _readable(sample, candidate, scores)) and score.nodata <= most
        ]
        series = _compat(images, candidates, sample, recipe)
    else:
        images = [_image(candidate, hidden_share(sample, candidate, scores, recipe)) for candidate in candidates]
        series = select_series(images, _request(sample, recipe, recipe.max_cloud, Reason.TOO_CLOUDY))
    return _told(series, sample, candidates, scores)


def radar_series(sample: Sample, candidates: Sequence[Candidate], scores: Scores, recipe: Recipe) -> Series:
    """Choose the Sentinel-1 images of a dated sample, by what they measured or by what their outlines reach."""
    if not is_measured(recipe):
        candidates = [candidate for candidate in candidates if candidate.reach >= WHOLE]
        shares, most = [1.0 - candidate.reach for candidate in candidates], 1.0
    else:
        shares = [_missing_share(sample, candidate, scores) for candidate in candidates]
        most = min(recipe.series.max_missing_radar, math.inf if recipe.max_missing is None else recipe.max_missing)
    pairs = zip(candidates, shares, strict=True)
    if recipe.series.policy == "compat":
        valid = [_image(candidate, 0.0) for candidate, share in pairs if share <= most]
        series = _compat(valid, candidates, sample, recipe)
    else:
        images = [_image(candidate, share) for candidate, share in pairs]
        series = select_series(images, _request(sample, recipe, most, Reason.TOO_MUCH_MISSING))
    return _told(series, sample, candidates, scores)


def own_series(sample: Sample, images: Sequence[Image], candidates: Sequence[Candidate], recipe: Recipe) -> Series:
    """Choose the images of a modality of the recipe's own for a dated sample: those with a finite `bad` are usable."""
    if recipe.series.policy == "compat":
        usable = [replace(image, bad=0.0) for image in images if math.isfinite(image.bad)]
        return _compat(usable, candidates, sample, recipe)
    return select_series(images, _request(sample, recipe, 1.0, Reason.TOO_CLOUDY))


def hidden_share(sample: Sample, candidate: Candidate, scores: Scores, recipe: Recipe) -> float:
    """Return the share of the patch where the ground is not seen [1]; infinite where the image cannot be used."""
    score = _readable(sample, candidate, scores)
    if score is None or (recipe.max_missing is not None and score.nodata > recipe.max_missing):
        return math.inf
    return score.bad


def told_reason(reason: Reason, sample: Sample, candidates: Sequence[Candidate], scores: Scores) -> Reason:
    """Return `reason`, or that nothing could be read where no acquisition of the sample could."""
    seen = [scores.get((sample.id, candidate.acquisition)) for candidate in candidates]
    is_blind = bool(seen) and all(score is not None and score.error for score in seen)
    is_judged = reason in {Reason.TOO_CLOUDY, Reason.TOO_MUCH_MISSING}
    return Reason.UNREADABLE if is_judged and is_blind else reason


def _told(series: Series, sample: Sample, candidates: Sequence[Candidate], scores: Scores) -> Series:
    reasons = tuple(told_reason(reason, sample, candidates, scores) for reason in series.missing)
    return replace(series, missing=reasons)


def _image(candidate: Candidate, bad: float) -> Image:
    return Image(name=candidate.acquisition, acquired=candidate.acquired, bad=bad)


def _readable(sample: Sample, candidate: Candidate, scores: Scores) -> Score | None:
    score = scores.get((sample.id, candidate.acquisition))
    return None if score is None or score.error else score


def _missing_share(sample: Sample, candidate: Candidate, scores: Scores) -> float:
    score = _readable(sample, candidate, scores)
    return math.inf if score is None else score.nodata


def _compat(images: Sequence[Image], candidates: Sequence[Candidate], sample: Sample, recipe: Recipe) -> Series:
    if candidates and not images:
        return refused(Reason.TOO_MUCH_MISSING, recipe.series_length)
    return select_compat(images, (day.date() for day in sample.event_dates), recipe.series_length)


def _request(sample: Sample, recipe: Recipe, max_bad: float, unusable: Reason) -> SeriesRequest:
    ((start, end),) = windows_of(sample, recipe)
    rules = recipe.series
    return SeriesRequest(
        events=event_spans(sample),
        start=start,
        end=end,
        length=recipe.series_length,
        max_bad=max_bad,
        before=rules.before,
        after=rules.after,
        max_gap=rules.max_gap,
        unusable=unusable,
    )
