"""survey.parquet: the scores of every patch on disk, a row group for each neighbourhood of patches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalog.codec import arrow_schema, from_table, to_table
from pipeline.catalog.stored import Stored, TableWriter, read_group
from pipeline.records import Sample, Score


@dataclass(frozen=True, slots=True)
class ScorePart:
    """Whose scores to read of a table: small enough to be sent to a worker."""

    path: Path
    groups: tuple[int, ...]

    def read(self) -> list[Score]:
        """Return the scores, those of other samples in the same groups among them."""
        groups = (read_group(self.path, number, Score) for number in self.groups)
        return [score for group in groups for score in from_table(group, Score, self.path)]


class ScoreTable(Stored[Score]):
    """The scores of a survey on disk, and in memory only which row group has those of a sample."""

    def __init__(self, path: Path, groups: Mapping[str, int]) -> None:
        super().__init__(path, Score)
        self._groups = groups

    def of(self, samples: Iterable[Sample]) -> ScorePart:
        """Return where the scores of some samples are; one that was never scored has none."""
        numbers = {self._groups[sample.id] for sample in samples if sample.id in self._groups}
        return ScorePart(path=self.path, groups=tuple(sorted(numbers)))


class ScoreWriter(TableWriter):
    """Writes the scores of one neighbourhood after the other."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, arrow_schema(Score))
        self._groups: dict[str, int] = {}
        self._count = 0

    def add(self, scores: Sequence[Score]) -> None:
        """Write the scores of a neighbourhood as one row group."""
        if scores:
            self.write(to_table(scores, Score))
            self._groups |= dict.fromkeys((score.sample_id for score in scores), self._count)
            self._count += 1

    def table(self) -> ScoreTable:
        """Return what was written; only when the writer was left."""
        return ScoreTable(self.path, self._groups)
