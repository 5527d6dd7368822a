"""How good: what the scene classification says about every patch on every candidate acquisition."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.pixels.classification import class_shares
from pipeline.plan.candidates import Candidate
from pipeline.plan.rows import MASK_BAND
from pipeline.records import PatchGrid, Reason, Sample, Score
from pipeline.sources.contract import ScoreWindow, ScoringSource
from pipeline.sources.reading import WindowReader, open_reader
from pipeline.sources.window import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyWindow:
    """One classification window to read: a patch on an acquisition."""

    sample_id: str
    grid: PatchGrid
    acquisition: str
    acquired: datetime
    scene_ids: tuple[str, ...]
    hrefs: tuple[str, ...]
    """Classification of each scene of the acquisition, first one first."""


def survey_batches(
    samples: Sequence[Sample], candidates: Mapping[str, Sequence[Candidate]], *, largest: int = 256
) -> list[tuple[SurveyWindow, ...]]:
    """Group the windows by the scene that is read first, so that each scene is opened once for all its patches."""
    return _batches(samples, candidates, lambda window: window.hrefs[0], largest)


def place_batches(
    samples: Sequence[Sample], candidates: Mapping[str, Sequence[Candidate]], *, largest: int
) -> list[tuple[SurveyWindow, ...]]:
    """Group the windows by place, all dates of a place together, each group in one zone."""
    return _batches(samples, candidates, lambda window: f"{window.grid.epsg}", largest)


def _batches(
    samples: Sequence[Sample],
    candidates: Mapping[str, Sequence[Candidate]],
    key: Callable[[SurveyWindow], str],
    largest: int,
) -> list[tuple[SurveyWindow, ...]]:
    groups: dict[str, list[SurveyWindow]] = {}
    for sample in samples:
        for candidate in candidates[sample.id]:
            window = _window(sample, candidate)
            groups.setdefault(key(window), []).append(window)
    return [
        tuple(windows[first : first + largest])
        for _, windows in sorted(groups.items())
        for first in range(0, len(windows), largest)
    ]


def survey_batch(windows: Sequence[SurveyWindow], source: Signer) -> list[Score]:
    """Score one batch.

    Raises
    ------
    TransientSourceError
        The provider could not be reached now: nothing is scored, or luck would choose the images.
    """
    if isinstance(source, ScoringSource):
        shares = source.class_shares([ScoreWindow(window.grid, window.hrefs) for window in windows])
        return [
            _as_score(window, (share.nodata, share.cloud, share.shadow, share.snow))
            for window, share in zip(windows, shares, strict=True)
        ]
    with open_reader(source) as reader:
        return [_score(window, reader) for window in windows]


def _window(sample: Sample, candidate: Candidate) -> SurveyWindow:
    return SurveyWindow(
        sample_id=sample.id,
        grid=sample.grid,
        acquisition=candidate.acquisition,
        acquired=candidate.acquired,
        scene_ids=tuple(scene.id for scene in candidate.scenes),
        hrefs=tuple(scene.hrefs[MASK_BAND] for scene in candidate.scenes),
    )


def _score(window: SurveyWindow, reader: WindowReader) -> Score:
    try:
        shares = class_shares(read_classification(window.hrefs, window.grid, reader))
    except TransientSourceError:
        raise
    except SourceError:
        nan = float("nan")
        return _as_score(window, (nan, nan, nan, nan), error=str(Reason.UNREADABLE))
    return _as_score(window, (shares.nodata, shares.cloud, shares.shadow, shares.snow))


def _as_score(window: SurveyWindow, shares: tuple[float, float, float, float], error: str = "") -> Score:
    nodata, cloud, shadow, snow = shares
    return Score(
        sample_id=window.sample_id,
        acquisition=window.acquisition,
        scene_ids=window.scene_ids,
        acquired=window.acquired,
        nodata=nodata,
        cloud=cloud,
        shadow=shadow,
        snow=snow,
        error=error,
    )


def read_classification(hrefs: Sequence[str], grid: PatchGrid, reader: WindowReader) -> NDArray[np.uint8]:
    """Return the scene classification of one acquisition, uint8 (y, x): the first scene with data wins."""
    classes = np.zeros((grid.size, grid.size), np.uint8)
    for href in hrefs:
        missing = classes == 0
        if not missing.any():
            break
        classes = np.where(missing, reader.read(href, grid, resampling="nearest").astype(np.uint8), classes)
    return classes
