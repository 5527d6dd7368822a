"""What a run shows beside its log: bars that move, tables, and summaries with what is missing and why."""

from collections import Counter
from collections.abc import Sequence
from time import monotonic
from typing import Any, cast
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from pipeline.catalog import Ledger
from pipeline.records import PlanRow, Recipe, ShardReport
from pipeline.report import REASONS, missing_counts, rejected_lines
from pipeline.stages import Cost

UPDATE_SECONDS = 1.0
"""A progress artifact is brought up to date no more often than this."""
TABLE_ROWS = 1000
"""The table of files ends here; receipts/ has all of them."""


class ProgressArtifact:
    """A progress bar in Prefect; a call brings it up to date, though not more often than every `UPDATE_SECONDS`."""

    def __init__(self, key: str, unit: str) -> None:
        self.key = key
        self.unit = unit
        self._artifact: UUID | None = None
        self._due = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`; a server that does not answer costs a line in the log, not the run."""
        if done < total and monotonic() < self._due:
            return
        try:
            self._show(100 * done / total if total else 100.0, f"{done} of {total} {self.unit}")
        except HTTPError as err:
            get_run_logger().warning("progress is not shown: %s", one_line(err))
        self._due = monotonic() + UPDATE_SECONDS

    def _show(self, percent: float, description: str) -> None:
        if self._artifact is None:
            self._artifact = cast(UUID, create_progress_artifact(percent, key=self.key, description=description))
        else:
            update_progress_artifact(self._artifact, percent, description=description)


def one_line(problem: object) -> str:
    """Return the text of an error as one line."""
    return " ".join(str(problem).split())


def cost_line(cost: Cost) -> str:
    """Return what building a plan takes, in one line."""
    left_out = f" ({cost.left_out} left out)" if cost.left_out else ""
    return (
        f"{cost.patches} patches{left_out} in {cost.shards} files; {cost.windows} windows to read, "
        f"{cost.read_bytes / 1e6:.1f} MB of pixels; {cost.stored_bytes / 1e6:.1f} MB before compression"
    )


def built_line(out: object, ledger: Ledger, reports: Sequence[ShardReport]) -> str:
    """Return what was built, in one line."""
    states = Counter(row.state for row in ledger)
    missing = len(ledger) - states["written"] - states["rejected"]
    gaps = f", {missing} missing" if missing else ""
    gaps += f", {states['rejected']} events rejected" if states["rejected"] else ""
    done = sum(report.state == "done" for report in reports)
    return f"{out}: {states['written']} patches written{gaps}, {done} of {len(reports)} files done"


def file_rows(reports: Sequence[ShardReport]) -> list[dict[str, Any]]:
    """Return the rows of the table of files, those that are not done first."""
    listed = sorted(reports, key=lambda report: (report.state == "done", report.path))[:TABLE_ROWS]
    return [{"path": r.path, "state": r.state, "bytes": r.bytes, "seconds": r.seconds} for r in listed]


def built_markdown(name: str, summary: str, ledger: Ledger) -> str:
    """Return the summary of a build: what was written of each modality, and what is missing and why."""
    written = Counter(row.modality for row in ledger if row.state == "written")
    lines = [_markdown(name, summary, "patches written", written, missing_counts(ledger))]
    rejected = [f"- {line}" for line in rejected_lines(ledger)]
    return "\n".join([*lines, "", "## Rejected events", "", *rejected] if rejected else lines)


def plan_markdown(recipe: Recipe, cost: Cost, rows: Sequence[PlanRow]) -> str:
    """Return the summary of a plan: what every modality will get, what it will lack and why, and the cost."""
    planned = Counter(row.modality for row in rows if row.choice is not None)
    missing = Counter((row.modality, row.reason) for row in rows if row.choice is None)
    return _markdown(recipe.name, cost_line(cost), "patches planned", planned, missing)


def _markdown(name: str, summary: str, what: str, there: Counter[str], missing: Counter[tuple[str, str]]) -> str:
    gaps = [
        f"| {modality} | {count} | {reason}: {REASONS.get(reason, 'see ledger.parquet')} |"
        for (modality, reason), count in sorted(missing.items())
    ]
    lines = [f"# {name}", "", summary, "", f"| modality | {what} |", "|---|---|"]
    lines += [f"| {modality} | {count} |" for modality, count in sorted(there.items())]
    lines += ["", "## Missing, and why", ""]
    lines += ["| modality | patches | reason |", "|---|---|---|", *gaps] if gaps else ["Nothing."]
    return "\n".join(lines)
