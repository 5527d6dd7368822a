"""How good is what was found: every patch is scored on every acquisition that could serve it, by neighbourhoods."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.catalog.scores import ScoreTable, ScoreWriter
from pipeline.cluster import Progress, Runner, limited
from pipeline.failover import MirrorSurvey
from pipeline.folder import writing
from pipeline.plan.majority import majority_grids
from pipeline.plan.mirrored import Copies
from pipeline.plan.policies import is_measured, judged_products
from pipeline.plan.rows import Offer, needed_bands, optical_offer, radar_offer
from pipeline.planning import by_key, neighbourhoods, without_collector
from pipeline.records import Recipe, Sample, Scene, Score
from pipeline.search import Found
from pipeline.sources import Source
from pipeline.sources.contract import ScoringSource
from pipeline.sources.mirrors import NO_MIRRORS, Mirrors
from pipeline.survey import SurveyWindow, place_batches, survey_batch, survey_batches

SURVEY_THREADS = 8


def survey(  # noqa: PLR0913
    found: Found,
    recipe: Recipe,
    source: Source,
    runner: Runner,
    progress: Progress,
    *,
    verify: str = "",
    mirrors: Mirrors = NO_MIRRORS,
) -> tuple[Found, ScoreTable]:
    """Score every patch on every Sentinel-2 acquisition that could serve it, neighbourhood after neighbourhood.

    Where radar is judged by what it measured, every Sentinel-1 acquisition is scored likewise. What cannot be read at
    the source for good is scored at the first mirror that has it. `verify` is as in `BuildOptions`.

    Where the recipe's series are seasonal, a sample whose images mostly come from tiles of another zone moves to that
    zone's grid and is scored again, as SSL4EO-S12 v1.1 has it; the returned places are the final ones.
    """
    moved: dict[str, Sample] = {}
    bar = _Bar(progress, len(found.samples))
    again = MirrorSurvey(recipe=recipe, mirrors=mirrors, copies=Copies(mirrors=mirrors.names))
    run = _Survey(source, runner, bar, verify, again)

    def score(samples: Sequence[Sample]) -> list[Score]:
        scored = [sample for sample in samples if sample.id not in found.unlabelled]
        scenes = found.scenes.near(samples).read(judged_products(recipe))
        offer = optical_offer(scored, scenes, recipe)
        scores = _score(scored, scenes, offer, recipe, run)
        if recipe.seasons is not None and recipe.places.crs is None:
            elsewhere = majority_grids(scored, scenes, offer, by_key(scores), recipe)
            scores = [score for score in scores if score.sample_id not in elsewhere]
            moves = list(elsewhere.values())
            scores += _score(moves, scenes, optical_offer(moves, scenes, recipe), recipe, run)
            moved.update(elsewhere)
        return sorted(scores, key=lambda score: (score.sample_id, score.acquired, score.acquisition))

    table_path = found.scenes.path.with_name("survey.parquet")
    with writing(table_path.parent.parent), ScoreWriter(table_path) as table:
        for samples in neighbourhoods(found.samples):
            bar.enter(len(samples))
            with without_collector():
                table.add(score(samples))
    samples = tuple(moved.get(sample.id, sample) for sample in found.samples)
    return replace(found, samples=samples, copies=again.copies.found), table.table()


class _Bar:
    """Progress over batches whose number is known of the neighbourhoods so far; of the others it is foretold."""

    def __init__(self, progress: Progress, samples: int) -> None:
        self._progress, self._samples = progress, samples
        self._begun = self._done = self._known = 0

    def enter(self, samples: int) -> None:
        """Say that so many more samples are at work."""
        self._begun += samples

    def expect(self, batches: int) -> None:
        """Say that so many more batches are known of."""
        self._known += batches
        self._show()

    def step(self) -> None:
        """Say that one more batch is done."""
        self._done += 1
        self._show()

    def _show(self) -> None:
        self._progress(self._done, round(self._known * self._samples / max(self._begun, 1)))


@dataclass(frozen=True, slots=True)
class _Survey:
    """What scores are made with."""

    source: Source
    runner: Runner
    bar: _Bar
    verify: str
    again: MirrorSurvey

    def scored(self, batches: Iterable[tuple[SurveyWindow, ...]], source: Source) -> Iterator[Score]:
        """Yield the scores of batches of windows of one source."""
        task = partial(survey_batch, source=limited(source, self.runner), verify=self.verify)
        for batch in self.runner.run(task, batches, threads=SURVEY_THREADS):
            self.bar.step()
            yield from batch


def _score(
    samples: Sequence[Sample], scenes: Sequence[Scene], optical: Offer, recipe: Recipe, run: _Survey
) -> list[Score]:
    if not samples:
        return []
    source, bar = run.source, run.bar
    group = survey_batches
    if isinstance(source, ScoringSource):
        group = partial(place_batches, largest=source.windows_at_once)
    batches = group(samples, optical)
    radar = needed_bands("S1", recipe)
    if radar and is_measured(recipe):
        offer = radar_offer(samples, scenes, recipe)
        batches += group(samples, offer, band=radar[0], radar=recipe.resampling.S1)
    bar.expect(len(batches))
    scores = list(run.scored(batches, source))

    def survey_mirror(batches: Sequence[tuple[SurveyWindow, ...]], mirror: Source) -> Iterator[Score]:
        bar.expect(len(batches))
        return run.scored(batches, mirror)

    return run.again.rescored(scores, samples, scenes, survey_mirror)
