"""The commands `lock`, `rebuild` and `diff`."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from pipeline.assemble import BuildOptions
from pipeline.cli.cluster import add_cluster, add_verify, setting_of, verification
from pipeline.cluster import ClusterSetting, open_runner, worker_needs
from pipeline.compare import compare
from pipeline.copies import lender, open_copy
from pipeline.errors import PipelineError, RecipeError
from pipeline.folder import read_provenance, writing
from pipeline.locks import LOCK_NAME, lock_dataset, prepare_rebuild, read_lock, rebuild
from pipeline.mirror import open_mirror
from pipeline.report.preview import shown_files
from pipeline.sources import open_source
from pipeline.stages import fallback_line, finish, load_plan, mirrors_of, shards_of, verification_line

EXIT_DIFFERENT = 1


def add_locks(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser."""
    text = "freeze what a finished dataset's bytes rest on, in one file that `sen12 rebuild` builds it from again"
    lock = commands.add_parser("lock", help=text, description=text)
    lock.add_argument("dataset", metavar="DIR", help="folder of a finished dataset, or its object store's URL")
    lock.add_argument("--out", type=Path, metavar="FILE", help=f"file to write [DIR/{LOCK_NAME}]")
    lock.set_defaults(call=_lock)
    text = "build a dataset again from its lock: the same bytes, or a list of what changed upstream (exit code 1)"
    again = commands.add_parser("rebuild", help=text, description=text)
    again.add_argument("lock", type=Path, metavar="LOCK", help="file that `sen12 lock` wrote")
    again.add_argument("--out", required=True, metavar="NEW", help="new folder, or URL as s3://bucket/prefix")
    again.add_argument("--resume", action="store_true", help="go on with what was started in NEW from the same lock")
    add_cluster(again)
    add_verify(again)
    again.set_defaults(call=_rebuild)
    text = "compare two datasets in words: recipe, plan, pixels, metadata; exit code 0 same, 1 different, 2 error"
    diff = commands.add_parser("diff", help=text, description=text)
    diff.add_argument("a", metavar="A", help="folder of a dataset, or its object store's URL")
    diff.add_argument("b", metavar="B", help="the same of another one")
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(call=_diff)


def _lock(options: argparse.Namespace) -> int:
    with open_mirror(options.dataset) as mirror:
        out = options.out or mirror.folder / LOCK_NAME
        with open_runner(ClusterSetting()) as runner, _bar("assets") as progress, writing(out):
            lock = lock_dataset(mirror.folder, out, runner, progress, store=mirror.store)
        mirror.push()
        where = options.out or f"{mirror.name}/{LOCK_NAME}"
    size = sum(asset.size or 0 for asset in lock.assets)
    gone = sum(asset.state == "gone" for asset in lock.assets)
    print(
        f"{where}: {len(lock.shards)} shards, {len(lock.assets)} assets of {size / 1e6:.1f} MB"
        f"{f' ({gone} gone)' if gone else ''}, {len(lock.packages)} packages; plan {lock.plan_sha256[:16]}"
    )
    return 0


def _rebuild(options: argparse.Namespace) -> int:
    lock = read_lock(options.lock)
    with open_mirror(options.out) as mirror:
        root = mirror.folder
        with writing(root):
            recipe = prepare_rebuild(options.lock, root, resume=options.resume)
        mirror.push()
        name = read_provenance(root)["source"]
        source, mirrors = open_source(name, recipe.collections), mirrors_of(root, name, recipe)
        verify = verification(options)
        if verify:
            print(verification_line(load_plan(root), recipe), flush=True)
        built = BuildOptions(root=root.resolve(), source=source, mirrors=mirrors, store=mirror.store, verify=verify)
        needs = worker_needs(recipe, name)
        with open_runner(setting_of(options), needs=needs) as runner, _bar("build") as progress:
            rebuilt, reports = rebuild(lock, built, runner, progress)
        if left := fallback_line(reports):
            print(left)
        decided = load_plan(root)
        mirror.fetch(shown_files(decided, shards_of(decided, recipe)))
        finish(root, decided, recipe, reports)
        mirror.push()
    print("\n".join(rebuilt.lines()))
    return 0 if rebuilt.is_same else EXIT_DIFFERENT


def _diff(options: argparse.Namespace) -> int:
    try:
        with open_copy(options.a) as a, open_copy(options.b) as b:
            difference = compare(a.folder, b.folder, lend=lender((a, b)))
    except (PipelineError, OSError) as err:
        # Code 1 says that they differ.
        raise RecipeError(str(err)) from err
    print(json.dumps(difference.as_dict(), indent=1, default=str) if options.json else "\n".join(difference.lines()))
    return 0 if difference.is_same else EXIT_DIFFERENT


@contextmanager
def _bar(stage: str) -> Iterator[Callable[[int, int], None]]:
    with tqdm(desc=stage, unit="", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
