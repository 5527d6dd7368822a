"""The command that writes a finished dataset in another layout."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from pipeline.copies import Copy, lender, open_copy
from pipeline.exports import EXPORTS, ExportRequest, ExportSummary, Radiometry
from pipeline.report import REASONS

_RADIOMETRIES: dict[str, tuple[Radiometry, ...]] = {
    "raw": ("raw",),
    "harmonized": ("harmonized",),
    "both": ("raw", "harmonized"),
}


def add_export(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to a parser."""
    text = "write finished datasets in another layout: the files that its published code reads"
    export = commands.add_parser("export", help=text, description=text)
    export.add_argument("datasets", nargs="+", metavar="DIR", help="folder of a finished dataset, or its store's URL")
    export.add_argument("--layout", choices=sorted(EXPORTS), required=True)
    export.add_argument("--out", type=Path, required=True, help="folder to make; it appears when it is whole")
    export.add_argument(
        "--split", metavar="NAME", help="lists made by `sen12 split`, or compat for the published splitter [blocks]"
    )
    export.add_argument(
        "--radiometry", choices=tuple(_RADIOMETRIES), default="both", help="trees of files to write [both]"
    )
    export.add_argument("--dims", choices=("txy", "tyx"), default="txy", help="order of axes [txy, as released]")
    export.add_argument(
        "--norm", choices=("valid", "compat"), default="valid",
        help="statistics over measured pixels, or over every pixel of every frame as published [valid]",
    )  # fmt: skip
    export.add_argument("--tar", type=int, metavar="N", help="also pack every N files into a .tar.gz")
    export.set_defaults(call=_export)


def _export(options: argparse.Namespace) -> int:
    with ExitStack() as opened:
        copies = [opened.enter_context(open_copy(place)) for place in options.datasets]
        summary = _write(options, copies)
    written = ", ".join(f"{count} {sensor}" for sensor, count in summary.written.items()) or "no"
    print(f"{options.out}: {written} patches written")
    for (sensor, reason), count in summary.skipped.items():
        print(f"left out: {sensor} {count} × {reason}: {REASONS.get(reason, 'see export.parquet')}")
    for note in summary.notes:
        print(note)
    return 0


def _write(options: argparse.Namespace, copies: Sequence[Copy]) -> ExportSummary:
    request = ExportRequest(
        roots=tuple(copy.folder for copy in copies),
        out=options.out,
        split=options.split,
        radiometries=_RADIOMETRIES[options.radiometry],
        dims=options.dims,
        norm=options.norm,
        part_size=options.tar,
        lend=lender(copies),
    )
    with tqdm(desc="export", unit="", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return EXPORTS[options.layout](request, progress)
