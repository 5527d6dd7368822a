"""How good: what the scene classification says about every patch on every candidate acquisition.

Of radar acquisitions one band says how much of the patch they measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, TransientSourceError
from pipeline.pixels.classification import ClassShares, class_shares
from pipeline.plan.candidates import Candidate
from pipeline.plan.choices import MASK_BAND
from pipeline.records import PatchGrid, Reason, Resampling, Sample, Score
from pipeline.sources.access import Signer
from pipeline.sources.contract import ScoreWindow, ScoringSource
from pipeline.sources.reading import WindowReader, open_reader
from pipeline.sources.watching import Failures, watched
from pipeline.sources.window import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyWindow:
    """One window to read: a patch on an acquisition, its classification or one radar band."""

    sample_id: str
    grid: PatchGrid
    acquisition: str
    acquired: datetime
    scene_ids: tuple[str, ...]
    hrefs: tuple[str, ...]
    """Classification or band of each scene of the acquisition, first one first."""
    radar: Resampling | None = None
    """How the radar band is brought onto the patch; None for a classification."""
    checksums: tuple[str, ...] = ()
    """Multihash of each of `hrefs`; empty where none is stated."""


def survey_batches(
    samples: Sequence[Sample],
    candidates: Mapping[str, Sequence[Candidate]],
    *,
    band: str = MASK_BAND,
    radar: Resampling | None = None,
    largest: int = 256,
) -> list[tuple[SurveyWindow, ...]]:
    """Group the windows by the scene that is read first, so that each scene is opened once for all its patches.

    Parameters
    ----------
    samples, candidates
        What to score: the candidates of each sample, by its id.
    band
        What to read of each scene: the classification, or a radar band.
    radar
        How the radar band is brought onto the patch; None for the classification.
    largest
        Windows in a batch.
    """
    windows = [_window(sample, candidate, band, radar) for sample in samples for candidate in candidates[sample.id]]
    return _batches(windows, lambda window: window.hrefs[0], largest)


def place_batches(
    samples: Sequence[Sample],
    candidates: Mapping[str, Sequence[Candidate]],
    *,
    band: str = MASK_BAND,
    radar: Resampling | None = None,
    largest: int,
) -> list[tuple[SurveyWindow, ...]]:
    """Group the windows by place, all dates of a place together, each group in one zone; see `survey_batches`."""
    windows = [_window(sample, candidate, band, radar) for sample in samples for candidate in candidates[sample.id]]
    return _batches(windows, lambda window: f"{window.grid.epsg}", largest)


def _batches(
    windows: Sequence[SurveyWindow], key: Callable[[SurveyWindow], str], largest: int
) -> list[tuple[SurveyWindow, ...]]:
    groups: dict[str, list[SurveyWindow]] = {}
    for window in windows:
        groups.setdefault(key(window), []).append(window)
    return [
        tuple(members[first : first + largest])
        for _, members in sorted(groups.items())
        for first in range(0, len(members), largest)
    ]


def survey_batch(windows: Sequence[SurveyWindow], source: Signer, verify: str = "") -> list[Score]:
    """Score one batch; where `verify` names a run, files are compared with their checksums, once a process.

    Raises
    ------
    TransientSourceError
        The provider could not be reached now: nothing is scored, or luck would choose the images.
    """
    if isinstance(source, ScoringSource):
        shares = source.class_shares([ScoreWindow(window.grid, window.hrefs, window.radar) for window in windows])
        return [_as_score(window, share) for window, share in zip(windows, shares, strict=True)]
    with open_reader(watched(source, Failures(), verify, _checksums(windows) if verify else None)) as reader:
        reader.read_ahead(
            ((Wanted(window.hrefs[0], window.radar or "nearest"),), window.grid) for window in windows if window.hrefs
        )
        return [_score(window, reader) for window in windows]


def _window(sample: Sample, candidate: Candidate, band: str, radar: Resampling | None) -> SurveyWindow:
    return SurveyWindow(
        sample_id=sample.id,
        grid=sample.grid,
        acquisition=candidate.acquisition,
        acquired=candidate.acquired,
        scene_ids=tuple(scene.id for scene in candidate.scenes),
        hrefs=tuple(scene.hrefs[band] for scene in candidate.scenes),
        radar=radar,
        checksums=tuple(scene.checksums.get(band, "") for scene in candidate.scenes),
    )


def _checksums(windows: Sequence[SurveyWindow]) -> dict[str, str]:
    stated = (pair for window in windows for pair in zip(window.hrefs, window.checksums, strict=True))
    return {href: checksum for href, checksum in stated if checksum}


def _score(window: SurveyWindow, reader: WindowReader) -> Score:
    try:
        return _as_score(window, _shares(window, reader))
    except TransientSourceError:
        raise
    except SourceError:
        nan = float("nan")
        unknown = ClassShares(nodata=nan, cloud=nan, shadow=nan, snow=nan, dark=nan)
        return _as_score(window, unknown, error=str(Reason.UNREADABLE))


def _shares(window: SurveyWindow, reader: WindowReader) -> ClassShares:
    if window.radar is None:
        return class_shares(read_classification(window.hrefs, window.grid, reader))
    missing = missing_radar_share(window.hrefs, window.grid, reader, resampling=window.radar)
    return ClassShares(nodata=missing, cloud=0.0, shadow=0.0, snow=0.0, dark=0.0)


def _as_score(window: SurveyWindow, shares: ClassShares, error: str = "") -> Score:
    return Score(
        sample_id=window.sample_id,
        acquisition=window.acquisition,
        scene_ids=window.scene_ids,
        acquired=window.acquired,
        nodata=shares.nodata,
        cloud=shares.cloud,
        shadow=shares.shadow,
        snow=shares.snow,
        dark=shares.dark,
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


def missing_radar_share(
    hrefs: Sequence[str], grid: PatchGrid, reader: WindowReader, *, resampling: Resampling
) -> float:
    """Return the share of a patch without radar measurement [1]: pixels where no scene has a power above 0.

    Backscatter that comes in decibels is measured where it is a number.
    """
    lowest = -np.inf if reader.is_decibel(hrefs[0]) else 0.0
    missing = np.ones((grid.size, grid.size), np.bool_)
    for href in hrefs:
        if not missing.any():
            break
        missing &= ~(reader.read_measured(href, grid, resampling=resampling) > lowest)
    return float(missing.mean())
