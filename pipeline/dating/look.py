"""Looking at a group of polygons on every scene over them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.cluster import Runner, limited
from pipeline.dating.reading import read_visit, visits_of
from pipeline.dating.series import Observation
from pipeline.dating.targets import Grounds, Target
from pipeline.grid import Integers
from pipeline.records import Reason, Scene
from pipeline.sources import Source

logger = logging.getLogger(__name__)

THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was seen of a group, by row of the inventory."""

    observations: dict[int, list[Observation]]
    """Rows that were looked at."""
    undatable: dict[int, str]
    """Rows that could not be looked at, and why."""
    unreadable: int
    """Observations that could not be read."""


def look(
    grounds: Grounds,
    rows: Integers,
    scenes: Sequence[Scene],
    *,
    source: Source,
    runner: Runner,
    progress: Callable[[float], None],
) -> Looked:
    """Observe the polygons of `rows` on every scene that reaches them; `progress` takes the share done [1].

    Raises
    ------
    TransientSourceError
        The provider could not be reached now.
    """
    targets: list[Target] = []
    undatable: dict[int, str] = {}
    for made in grounds.iter_targets(rows):
        if isinstance(made, Target):
            targets.append(made)
        else:
            undatable[made[0]] = made[1]
    visits = visits_of(targets, scenes)
    reached = {target.row for visit in visits for target in visit.targets}
    undatable |= {target.row: str(Reason.OUTSIDE_SOURCE) for target in targets if target.row not in reached}
    observations: dict[int, list[Observation]] = {row: [] for row in sorted(reached)}
    unreadable = 0
    task = partial(read_visit, source=limited(source, runner))
    for done, seen in enumerate(runner.run(task, visits, threads=THREADS), start=1):
        for row, observation in seen.observations:
            observations[row].append(observation)
        for problem in seen.unreadable:
            logger.info("%s", problem)
        unreadable += len(seen.unreadable)
        progress(done / len(visits))
    return Looked(observations=observations, undatable=undatable, unreadable=unreadable)
