"""The command `sen12`: parse, call, print."""

import argparse
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from pipeline import __version__
from pipeline.assemble import BuildOptions
from pipeline.catalog import Ledger, rejected_rows
from pipeline.cli.cluster import add_cluster, add_verify, setting_of, verification
from pipeline.cli.dating import add_dating, date_places, print_dated
from pipeline.cli.export import add_export
from pipeline.cli.lock import add_locks
from pipeline.cli.publish import add_publish
from pipeline.cli.simulation import add_simulation, packing_line, simulated_lines
from pipeline.cli.status import add_mirror, add_retry, add_status
from pipeline.cli.tools import add_overrides, add_tools
from pipeline.cluster import LocalRunner, Runner, open_runner, worker_bound, worker_needs
from pipeline.copies import fetch_receipts
from pipeline.demo import demo_request
from pipeline.errors import PipelineError, RecipeError
from pipeline.failover import mirror_lines
from pipeline.folder import Existing, Request, check_folder, read_provenance, read_recipe
from pipeline.mirror import Mirror, open_mirror
from pipeline.recipes import load_recipe, recipe_names
from pipeline.report import REASONS, missing_counts, provider_counts, rejected_lines
from pipeline.report.preview import shown_files
from pipeline.retry import forget, turn_to_mirrors
from pipeline.search import find
from pipeline.sources.contract import Forecast, ForecastingSource
from pipeline.stages import (
    Cost,
    build,
    connect,
    cost_of,
    fallback_line,
    finish,
    forecast_of,
    load_plan,
    make_plan,
    mirrors_asked_for,
    mirrors_of,
    shards_of,
    survey,
    verification_line,
)

EXIT_WRONG_REQUEST = 2
EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 failed or incomplete, 2 a wrong request."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    try:
        _require_folders(options)
        return int(options.call(options))
    except RecipeError as err:
        return _complain(err, EXIT_WRONG_REQUEST)
    except PipelineError as err:
        return _complain(err, EXIT_FAILED)
    except BrokenPipeError:
        # Whoever reads the output (head, less) has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as err:
        return _complain(err, EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain("stopped; what is built is kept: the same command with --resume goes on", 130)


_STORE = re.compile(r"^[a-z][a-z0-9+.-]+:/")


def _require_folders(options: argparse.Namespace) -> None:
    """Refuse the URL of an object store where a command reads or writes a folder of this machine."""
    for value in vars(options).values():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and _STORE.match(str(path)):
                shown = re.sub(r"[^/@]+@|\?.*", "", str(path)).replace(":/", "://", 1)
                raise RecipeError(
                    f"{shown} is an object store, and this command works on folders: copy "
                    "the dataset to one first (aws s3 sync, rclone)"
                )


def _complain(problem: object, code: int) -> int:
    print(f"sen12: error: {' '.join(str(problem).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sen12", description=__doc__)
    parser.add_argument("--version", action="version", version=f"sen12-pipeline {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every shard and scene")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, call, text in (
        ("plan", _plan, "decide everything and print the cost, before a spectral pixel is read"),
        ("build", _build, "plan if need be, and build the dataset"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        _add_request(command)
        if name == "plan":
            add_simulation(command)
        add_verify(command)
        command.set_defaults(call=call)
    demo = commands.add_parser("demo", help="build a dataset from the embedded archive")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder of archive and dataset [demo]")
    add_cluster(demo)
    demo.set_defaults(call=_demo)
    add_status(commands)
    add_verify(add_retry(commands, _retry))
    add_dating(commands, _date)
    add_tools(commands)
    add_export(commands)
    add_publish(commands)
    add_locks(commands)
    return parser


def _add_request(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help=f"name ({', '.join(recipe_names())}) or YAML file")
    command.add_argument("--places", required=True, help="inventory of dated polygons, or points as CSV or Parquet")
    command.add_argument("--source", required=True, help="provider name, or path or URL of a STAC catalogue")
    add_mirror(command)
    command.add_argument("--out", help="folder of the dataset, or URL as s3://bucket/prefix [the recipe's name]")
    add_overrides(command)
    taken = command.add_mutually_exclusive_group()
    taken.add_argument("--resume", action="store_true", help="go on with the same request's dataset in --out")
    taken.add_argument("--overwrite", action="store_true", help="replace the dataset in --out")
    add_cluster(command)


@contextmanager
def _opened_request(options: argparse.Namespace) -> Iterator[tuple[Request, Mirror]]:
    recipe = load_recipe(options.recipe, options.overrides)
    with open_mirror(options.out or recipe.name) as mirror:
        request = Request(
            recipe=recipe,
            places=options.places,
            source=options.source,
            out=mirror.folder,
            mirrors=tuple(options.mirror),
        )
        yield request, mirror


def _existing(options: argparse.Namespace) -> Existing:
    return "resume" if options.resume else "overwrite" if options.overwrite else "refuse"


def _plan(options: argparse.Namespace) -> int:
    with _opened_request(options) as (request, mirror):
        with open_runner(setting_of(options), needs=worker_needs(request.recipe, request.source)) as runner:
            _make_plan(request, _existing(options), runner, mirror, verification(options))
        decided = load_plan(request.out)
        _print_rejected(rejected_rows(decided))
        if options.simulate:
            for line in simulated_lines(decided, request.recipe, connect(request), options):
                _say(line)
        elif request.recipe.packing == "shuffled":
            _say(packing_line(decided, request.recipe, connect(request), options))
        print(f"plan: {mirror.name}/plan.parquet; build it with the same command, `build` and --resume")
    return 0


def _build(options: argparse.Namespace) -> int:
    with (
        _opened_request(options) as (request, mirror),
        open_runner(setting_of(options), needs=worker_needs(request.recipe, request.source)) as runner,
    ):
        verify = verification(options)
        _make_plan(request, _existing(options), runner, mirror, verify)
        return _build_plan(request, runner, mirror, verify)


def _make_plan(request: Request, existing: Existing, runner: Runner, mirror: Mirror, verify: str = "") -> None:
    if check_folder(request, existing):
        print(f"{mirror.name}: plan found")
    else:
        source, mirrors = connect(request), mirrors_asked_for(request)
        _say("search: places and scenes")
        found = find(request, source)
        print("\n".join([f"{len(found.samples)} patches, {len(found.scenes)} scenes", *found.notes]))
        with _bar("survey") as progress:
            found, scores = survey(found, request.recipe, source, runner, progress, verify=verify, mirrors=mirrors)
        # Workers of an object store have no folder in common to put their parts of the plan into.
        make_plan(request, found, scores, LocalRunner() if mirror.store else runner)
        mirror.push()
    mirrors = mirrors_of(request.out, request.source, request.recipe, request.mirrors)
    decided = load_plan(request.out)
    for line in mirror_lines(decided, request.recipe, mirrors):
        print(line)
    _print_cost(cost_of(decided, request.recipe), worker_bound(request.recipe, request.source))
    _print_forecast(forecast_of(decided, request.recipe, connect(request)))


def _print_cost(cost: Cost, memory: int) -> None:
    left_out = f" ({cost.left_out} left out)" if cost.left_out else ""
    print(
        f"{cost.patches} patches{left_out} in {cost.shards} files; {cost.windows} windows to read, "
        f"{cost.read_bytes / 1e6:.1f} MB of pixels; {cost.stored_bytes / 1e6:.1f} MB before compression; "
        f"at most {memory / 1e9:.1f} GB of memory a worker"
    )


def _print_forecast(forecast: Forecast | None) -> None:
    if forecast is not None:
        print(
            f"forecast: at most {forecast.requests} requests, {forecast.bytes / 1e6:.1f} MB, "
            f"about {forecast.compute_hours:.2f} EECU hours at half a second a patch and date"
        )


def _build_plan(request: Request, runner: Runner, mirror: Mirror, verify: str = "") -> int:
    mirrors = mirrors_of(request.out, request.source, request.recipe, request.mirrors)
    decided = load_plan(request.out)
    if verify:
        _say(verification_line(decided, request.recipe))
    options = BuildOptions(
        root=request.out.resolve(), source=connect(request), mirrors=mirrors, store=mirror.store, verify=verify
    )
    with _bar("build") as progress:
        reports = build(decided, request.recipe, options, runner, progress)
    if left := fallback_line(reports):
        print(left)
    if isinstance(options.source, ForecastingSource):
        for line in options.source.usage():
            print(f"used by this process, {line}")
    decided = load_plan(request.out)
    mirror.fetch(shown_files(decided, shards_of(decided, request.recipe)) if mirror.store else ())
    ledger = finish(request.out, decided, request.recipe, reports)
    mirror.push()
    unfinished = [report for report in reports if report.state != "done"]
    written = Counter(row.modality for row in ledger if row.state == "written")
    print(f"{mirror.name}: " + ", ".join(f"{count} {name}" for name, count in written.items()) + " patches written")
    _print_mirrored(ledger, decided.mirrors)
    _print_rejected(ledger)
    for (modality, reason), count in sorted(missing_counts(ledger).items()):
        print(f"missing: {modality} {count} × {reason}: {REASONS.get(reason, 'see ledger.parquet')}")
    if unfinished:
        raise PipelineError(
            f"{len(unfinished)} of {len(reports)} files are unfinished (first: {unfinished[0].error}); "
            "the same command with --resume goes on"
        )
    return 0


def _retry(options: argparse.Namespace) -> int:
    with open_mirror(options.dataset) as mirror:
        out = mirror.folder
        recipe, provenance = read_recipe(out), read_provenance(out)
        source, mirrors = options.source or provenance["source"], tuple(options.mirror)
        request = Request(recipe=recipe, places=provenance["places"], source=source, out=out, mirrors=mirrors)
        receipts = fetch_receipts(mirror)
        if options.reason == "unfinished" and mirrors:
            opened = mirrors_of(out, source, recipe, mirrors)
            print("\n".join(turn_to_mirrors(out, opened, options.sample, any_baseline=options.any_baseline)))
        else:
            print(forget(out, options.reason, options.sample))
        mirror.remove(name for name in receipts if not (out / name).exists())
        mirror.push()
        with open_runner(setting_of(options), needs=worker_needs(recipe, source)) as runner:
            return _build_plan(request, runner, mirror, verification(options))


def _print_mirrored(ledger: Ledger, mirrors: Sequence[str]) -> None:
    counts = provider_counts(ledger)
    for name in mirrors:
        if name in counts:
            read = ", ".join(f"{count} {modality}" for modality, count in counts[name].items())
            print(f"mirror {name}: {read} patches read from it")


def _print_rejected(ledger: Ledger) -> None:
    for line in rejected_lines(ledger):
        print(f"rejected: {line}")


def _date(options: argparse.Namespace) -> int:
    with open_runner(setting_of(options)) as runner, _bar("date") as progress:
        dated = date_places(options, runner, progress)
    print_dated(dated, options.out)
    return 0


def _demo(options: argparse.Namespace) -> int:
    setting = setting_of(options)
    _say("archive: generated, not observed")
    request = demo_request(options.out)
    out = request.out
    with open_runner(setting, needs=worker_needs(request.recipe, request.source)) as runner:
        mirror = Mirror(folder=out)
        _make_plan(request, "overwrite", runner, mirror)
        code = _build_plan(request, runner, mirror)
    _print_statistics(out)
    shard = min((out / "all" / "S2L2A").glob("*.zarr.zip"))
    print(f"preview: {out / 'preview.png'}\ncard: {out / 'README.md'}\n\nIn Python:")
    print(
        f'    from pipeline import open_shard\n    shard = open_shard("{shard}")\n    print(shard.bands.isel(sample=0))'
    )
    return code


def _print_statistics(out: Path) -> None:
    card = (out / "README.md").read_text(encoding="utf-8")
    table = card.split("## Statistics over valid pixels\n\n")[1].split("\n\n")[0]
    print(f"\nStatistics over valid pixels\n{table}\n")


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _bar(stage: str) -> Iterator[Callable[[int, int], None]]:
    with tqdm(desc=stage, unit="", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
