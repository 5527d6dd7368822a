"""Scenes of the recipe's own modalities: when they may be from, and which of them are clear enough."""

import math
from collections.abc import Sequence
from datetime import timedelta

from pipeline.plan.candidates import WHOLE, Candidate
from pipeline.plan.request import DAY, Image
from pipeline.plan.windows import Interval, widened, windows_of
from pipeline.records import OwnModality, Recipe, Sample


def own_windows(sample: Sample, own: OwnModality, recipe: Recipe) -> tuple[Interval, ...]:
    """Return every interval that images of `sample` may come from; none when it has no date and needs one."""
    if own.time == "series":
        return windows_of(sample, recipe)
    days = own.max_gap or 0
    if own.time == "frames":
        return widened(windows_of(sample, recipe), days)
    if sample.date is None:
        return ()
    return ((sample.date - timedelta(days=days), sample.date + timedelta(days=days) + DAY),)


def clear_candidates(candidates: Sequence[Candidate], own: OwnModality) -> list[Candidate]:
    """Return the candidates whose images state no more clouds than the modality allows."""
    return [candidate for candidate in candidates if math.isfinite(_cloud_share(candidate, own))]


def own_images(candidates: Sequence[Candidate], own: OwnModality) -> list[Image]:
    """Return what a series is chosen from: acquisitions of whole patches, ranked by the clouds that they state."""
    return [
        Image(name=candidate.acquisition, acquired=candidate.acquired, bad=_cloud_share(candidate, own))
        for candidate in candidates
        if candidate.reach >= WHOLE
    ]


def _cloud_share(candidate: Candidate, own: OwnModality) -> float:
    """Return the largest share of clouds that a scene states [1]; infinite where it is too large or not stated."""
    if own.max_cloud is None:
        return 0.0
    stated = [math.inf if scene.cloud_cover is None else scene.cloud_cover for scene in candidate.scenes]
    return max(stated) / 100 if max(stated) <= own.max_cloud else math.inf
