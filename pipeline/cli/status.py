"""The commands `status` and `retry`: how far a dataset is, and reading once more what was of no use."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from pipeline.cli.cluster import add_cluster
from pipeline.copies import open_copy
from pipeline.errors import PipelineError
from pipeline.report import REASONS
from pipeline.retry import RETRIED
from pipeline.status import Count, FileState, Pace, Status, dataset_status

EXIT_OPEN = 1

STAGES = {
    "damaged": "damaged",
    "not planned": "not planned yet: search or survey is going on, or was stopped",
    "planned": "planned, nothing built yet",
    "unfinished": "files are being built, or are to be",
    "built": "every file is built; the tables beside them are not",
    "finished": "finished",
}
FILES = ("done", "begun", "unfinished", "not begun", "outdated", "damaged")
PATCHES = {"written": "written", "missing": "missing", "unfinished": "to come", "rejected": "events rejected"}


def add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `status` to a parser."""
    text = "tell how far a dataset is: counts by state and reason, what takes longest, and the time left"
    command = commands.add_parser("status", help=text, description=f"{text}. Exit code 1: something is still to do.")
    command.add_argument("dataset", help="folder of the dataset, in any state, or its object store's URL")
    command.add_argument("--json", action="store_true", help="print it as JSON")
    command.set_defaults(call=_status)


def add_mirror(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add `--mirror` to a parser; `more` is said of it there."""
    command.add_argument(
        "--mirror", action="append", default=[], metavar="NAME",
        help="another provider of the same products, named as --source is, that is asked for what the source has no "
        f"more; repeatable, asked in this order; the dataset keeps it{more}",
    )  # fmt: skip


def add_retry(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", call: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add `retry` to a parser, and return it; `call` runs it."""
    text = "read again what is missing or was replaced for a reason that may have passed, and build what that changes"
    command = commands.add_parser("retry", help=text, description=text)
    command.add_argument("dataset", help="folder of the dataset, or its object store's URL")
    command.add_argument("--reason", required=True, help=f"{', '.join(sorted(RETRIED))}, or unfinished")
    add_mirror(
        command, "; with --reason unfinished, what is not built is read from mirrors, in place of an outage's end"
    )
    command.add_argument(
        "--any-baseline", action="store_true",
        help="with --reason unfinished: take Sentinel-2 copies of other processing baselines too, whose values differ",
    )  # fmt: skip
    command.add_argument("--sample", metavar="ID", help="of this sample only")
    command.add_argument("--source", help="provider, or catalogue, if it has moved [the one that the dataset names]")
    add_cluster(command)
    command.set_defaults(call=call)
    return command


def _status(options: argparse.Namespace) -> int:
    with open_copy(options.dataset) as copy:
        status = dataset_status(copy.folder)
        problem = status.problem.replace(str(copy.folder), copy.name)
        status = replace(status, dataset=copy.name, problem=problem)
    if options.json:
        print(json.dumps(asdict(status), indent=1, allow_nan=False))
    else:
        print("\n".join(status_lines(status)))
    if status.stage == "damaged":
        raise PipelineError(f"{status.problem}; the dataset must be planned again")
    return 0 if status.stage == "finished" else EXIT_OPEN


def status_lines(status: Status) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"{status.dataset}: {status.recipe}, {STAGES[status.stage]}"
    if status.files:
        total = sum(status.files.values())
        yield _line("files", f"{total}: " + _numbers(status.files, {name: name for name in FILES}))
        yield _line("patches", _numbers(status.patches, PATCHES))
    yield from _counted("missing", status.missing, said=True)
    yield from _counted("replaced", status.replaced, said=False)
    yield from _counted("mirrored", status.mirrored, said=False)
    for file in status.open:
        yield _line("open", f"{file.path}: {file.state}" + (f", {_tried(file)}" if file.attempts else ""))
    if status.failed_requests:
        yield _line("requests", _failed(status.failed_requests))
    yield from _listed("slowest", status.slowest, lambda file: f"{file.seconds:.1f} s")
    yield from _listed("largest", status.largest, lambda file: f"{file.bytes / 1e6:.2f} MB")
    if status.pace is not None:
        yield _line("pace", _pace(status.pace))


def _line(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _numbers(counts: Mapping[str, int], names: Mapping[str, str]) -> str:
    return ", ".join(f"{counts[key]} {name}" for key, name in names.items() if counts.get(key)) or "none"


def _counted(name: str, counts: Sequence[Count], *, said: bool) -> Iterator[str]:
    for count in counts:
        meaning = f": {REASONS.get(count.reason, 'see ledger.parquet')}" if said else ""
        yield _line(name, f"{count.modality} {count.count} × {count.reason}{meaning}")


def _listed(name: str, files: Sequence[FileState], measure: Callable[[FileState], str]) -> Iterator[str]:
    for file in files:
        yield _line(name, f"{measure(file)}  {file.path}")


def _failed(counts: Mapping[str, int]) -> str:
    problems = ", ".join(f"{count} × {problem}" for problem, count in sorted(counts.items()))
    return f"{sum(counts.values())} failed while files were built: {problems}"


def _tried(file: FileState) -> str:
    times = "1 attempt" if file.attempts == 1 else f"{file.attempts} attempts"
    return f"{times}, the last one: {file.fault}"


def _pace(pace: Pace) -> str:
    text = f"{pace.files_per_hour:.0f} files an hour, {pace.at_once:.1f} at once"
    text += f"; the last one {_span(pace.idle_seconds)} ago"
    return text if pace.seconds_left is None else f"{text}; about {_span(pace.seconds_left)} left"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
