"""How far a dataset is: its files and patches by state, what takes longest, and how long the rest will take.

A file counts as done when its receipt fits the plan and the file has the receipt's size; checksums are for `validate`.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from pipeline.catalog import Decided, read_decided
from pipeline.catalog.built import LedgerRow, file_rows, read_details, rejected_rows, unplaced_rows
from pipeline.errors import LayoutError, PipelineError
from pipeline.folder import read_recipe
from pipeline.receipts import STOPPED, load_attempts, load_receipt, plan_digest
from pipeline.records import Recipe, Shard, ShardReport
from pipeline.report import missing_counts, provider_counts, replaced_counts
from pipeline.sources.watching import FailedRequests, added
from pipeline.stages import shards_of

Stage = Literal["damaged", "not planned", "planned", "unfinished", "built", "finished"]
"""`unfinished` while files are to be built, `built` when only the tables beside them are."""
FileStage = Literal["done", "not begun", "begun", "unfinished", "outdated", "damaged"]
"""`begun` is being built now, or was when its process was killed; `outdated` was built from another plan."""

LISTED = 5
"""Files that are named one by one."""
_PAUSE_SECONDS = 120.0
"""A build that finished no file for so long, and for five times its longest file, was interrupted."""
_LATEST = 500
"""The pace is that of the latest files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file of the plan."""

    path: str
    modality: str
    state: FileStage
    bytes: int = 0
    seconds: float = 0.0
    attempts: int = 0
    fault: str = ""
    """What ended its last attempt that came to nothing."""
    finished: float = 0.0
    """When its receipt was written, seconds since 1970."""
    failed_requests: FailedRequests = field(default_factory=dict)
    """Requests that came to nothing, over all attempts: problem to count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast files came in the latest stretch without a pause."""

    files_per_hour: float
    at_once: float
    """Files built at the same time, on average."""
    idle_seconds: float
    """Since the last file."""
    seconds_left: float | None
    """At this pace; None where nothing is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many patches of one modality share a reason."""

    modality: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a dataset is."""

    dataset: str
    recipe: str
    stage: Stage
    problem: str = ""
    """Why no more can be told of a damaged dataset."""
    files: Mapping[str, int]
    """Number of files by state."""
    patches: Mapping[str, int]
    """Number of patches by state: written, missing, unfinished (to come), and rejected events."""
    missing: tuple[Count, ...] = ()
    replaced: tuple[Count, ...] = ()
    """Images that stand in for one that proved of no use."""
    mirrored: tuple[Count, ...] = ()
    """Patches that were read from a mirror, which `reason` names."""
    open: tuple[FileState, ...] = ()
    """Files with attempts that came to nothing, or damaged: the first few."""
    slowest: tuple[FileState, ...] = ()
    largest: tuple[FileState, ...] = ()
    bytes: int = 0
    pace: Pace | None = None
    failed_requests: Mapping[str, int] = field(default_factory=dict)
    """Requests that came to nothing while files were built: problem to count."""


def dataset_status(root: Path) -> Status:
    """Tell how far the dataset in `root` is, whatever state it is in.

    Raises
    ------
    LayoutError
        `root` holds no dataset.
    """
    if not root.is_dir():
        raise LayoutError(f"{root} is not a folder")
    name = "unknown"
    try:
        recipe = read_recipe(root)
        name = recipe.name
        if not (root / "plan.parquet").is_file():
            return Status(dataset=str(root), recipe=name, stage="not planned", files={}, patches={})
        decided = read_decided(root)
        shards = shards_of(decided, recipe)
    except PipelineError as err:
        if not (root / "recipe.yaml").is_file():
            raise
        return Status(dataset=str(root), recipe=name, stage="damaged", problem=str(err), files={}, patches={})
    return _status(root, recipe, decided, shards)


def _status(root: Path, recipe: Recipe, decided: Decided, shards: Sequence[Shard]) -> Status:
    files, patches = [], _Patches(decided.mirrors)
    details = read_details(decided)
    for shard in shards:
        file, report = _look(root, shard, recipe)
        files.append(file)
        patches.add(file_rows(shard, report, details, decided.source))
    patches.add(list(unplaced_rows(decided)))
    patches.add(rejected_rows(decided))
    done = [file for file in files if file.state == "done"]
    return Status(
        dataset=str(root),
        recipe=recipe.name,
        stage=_stage(root, files),
        files=dict(Counter(file.state for file in files)),
        patches=dict(patches.states),
        missing=_counts(patches.missing),
        replaced=_counts(patches.replaced),
        mirrored=_counts(patches.mirrored),
        open=tuple(file for file in files if file.fault or file.state == "damaged")[:LISTED],
        slowest=_top(done, [file.seconds for file in done]),
        largest=_top(done, [file.bytes for file in done]),
        bytes=sum(file.bytes for file in done),
        pace=_pace(done, [file for file in files if file.state != "done"]),
        failed_requests=added(*(file.failed_requests for file in files)),
    )


class _Patches:
    """Counts the rows of a ledger that is never held as a whole."""

    def __init__(self, mirrors: Sequence[str]) -> None:
        self._mirrors = mirrors
        self.states: Counter[str] = Counter()
        self.missing: Counter[tuple[str, str]] = Counter()
        self.replaced: Counter[tuple[str, str]] = Counter()
        self.mirrored: Counter[tuple[str, str]] = Counter()

    def add(self, rows: Sequence[LedgerRow]) -> None:
        self.states.update(row.state for row in rows)
        self.missing.update(missing_counts([row for row in rows if row.state == "missing"]))
        self.replaced.update(replaced_counts(rows))
        read = provider_counts(rows)
        for name in self._mirrors:
            self.mirrored.update({(modality, name): count for modality, count in read.get(name, {}).items()})


def _look(root: Path, shard: Shard, recipe: Recipe) -> tuple[FileState, ShardReport | None]:
    """Return the state of one file, and its receipt if it is done."""
    receipt, file = root / shard.receipt_path, root / shard.path
    try:
        finished = receipt.stat().st_mtime
        report = load_receipt(receipt)
    except FileNotFoundError:
        return _open(root, shard, "not begun"), None
    except (LayoutError, OSError):
        return _open(root, shard, "damaged"), None
    if report.plan_digest != plan_digest(shard, recipe):
        return _open(root, shard, "outdated"), None
    if not file.is_file() or file.stat().st_size != report.bytes:
        return _open(root, shard, "damaged"), None
    state = FileState(
        path=shard.path, modality=shard.modality, state="done", bytes=report.bytes, seconds=report.seconds,
        attempts=report.attempts, finished=finished, failed_requests=report.failed_requests,
    )  # fmt: skip
    return state, report


def _open(root: Path, shard: Shard, state: FileStage) -> FileState:
    tried = load_attempts(root / shard.attempts_path)
    fault = tried.faults[-1] if tried.faults else ""
    if tried.count:
        state = "begun" if fault == STOPPED else "unfinished"
    fault = "" if tried.count == 1 and fault == STOPPED else fault
    return FileState(
        path=shard.path, modality=shard.modality, state=state, attempts=tried.count, fault=fault,
        failed_requests=tried.failed_requests,
    )  # fmt: skip


def _stage(root: Path, files: Iterable[FileState]) -> Stage:
    states = {file.state for file in files}
    if states == {"done"}:
        return "finished" if (root / "README.md").is_file() and (root / "ledger.parquet").is_file() else "built"
    return "planned" if states <= {"not begun"} else "unfinished"


def _counts(counts: Mapping[tuple[str, str], int]) -> tuple[Count, ...]:
    return tuple(Count(modality=name, reason=reason, count=count) for (name, reason), count in sorted(counts.items()))


def _top(files: Sequence[FileState], sizes: Sequence[float]) -> tuple[FileState, ...]:
    ranked = sorted(zip(sizes, files, strict=True), key=lambda pair: (-pair[0], pair[1].path))
    return tuple(file for _, file in ranked[:LISTED])


def _pace(done: Sequence[FileState], rest: Sequence[FileState]) -> Pace | None:
    """Return the pace of the files that came last; None where fewer than two came without a pause."""
    latest = _stretch(sorted(done, key=lambda file: file.finished)[-_LATEST:])
    if len(latest) < 2:
        return None
    elapsed = max(latest[-1].finished - min(file.finished - file.seconds for file in latest), 1e-3)
    at_once = sum(file.seconds for file in latest) / elapsed
    by_modality: dict[str, list[float]] = {}
    for file in done:
        by_modality.setdefault(file.modality, []).append(file.seconds)
    usual = fmean(file.seconds for file in done)
    work = sum(fmean(by_modality.get(file.modality, [usual])) for file in rest)
    return Pace(
        files_per_hour=3600.0 * len(latest) / elapsed,
        at_once=at_once,
        idle_seconds=max(time.time() - latest[-1].finished, 0.0),
        seconds_left=work / max(at_once, 1e-6) if rest else None,
    )


def _stretch(files: Sequence[FileState]) -> list[FileState]:
    """Return the files behind the last pause."""
    pause = max(_PAUSE_SECONDS, 5.0 * max((file.seconds for file in files), default=0.0))
    start = 0
    for index in range(1, len(files)):
        if files[index].finished - files[index].seconds - files[index - 1].finished > pause:
            start = index
    return list(files[start:])
