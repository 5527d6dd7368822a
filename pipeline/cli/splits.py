"""Commands for training: splits, their leaks, and norms."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.copies import lender, open_copy, whole_copy
from pipeline.errors import LayoutError, RecipeError
from pipeline.mirror import Mirror, open_mirror
from pipeline.splits.audit import Audit, audit, read_locations
from pipeline.splits.blocks import SPLITS, BlockRule, block_splits
from pipeline.splits.compat import compat_split, read_split_table
from pipeline.splits.folders import NORM, PARTS, read_rule, split_folder, split_names, write_document
from pipeline.splits.tables import read_places
from pipeline.training.division import (
    audit_split,
    checked_names,
    describe,
    divide_as_published,
    divide_by_blocks,
    write_division,
)
from pipeline.training.norms import NormRule, split_norm
from pipeline.training.pooled import pooled_norm
from pipeline.training.tables import read_patches

DEFAULT = BlockRule()
NEAR = 6400.0
DEFAULT_NAME = "blocks"


def add_splits(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser."""
    _add_split(commands)
    audit_command = commands.add_parser("audit", help="measure what test patches share with train patches")
    audit_command.add_argument(
        "locations", metavar="PATH",
        help="patch_locations.geojson (points with split and crs_original), a dataset or its store's URL, or its "
        "splits/NAME",
    )  # fmt: skip
    audit_command.add_argument("--name", help="split of the dataset [the only one, or blocks]")
    audit_command.add_argument(
        "--distance", type=float, help=f"metres that count as near [the split's own buffer, else {NEAR:g}]"
    )
    audit_command.add_argument("--json", action="store_true", help="print JSON")
    audit_command.set_defaults(call=_audit)
    _add_norm(commands)


def _add_split(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    split = commands.add_parser("split", help="divide datasets, or a table, into train, val and test; audit the leaks")
    split.add_argument("datasets", nargs="*", metavar="DIR", help="datasets to divide together, or their stores' URLs")
    split.add_argument(
        "--rule", choices=("blocks", "compat"), default="blocks",
        help="blocks: spatial blocks with a buffer between them; compat: the published stratified 64/16/20 [blocks]",
    )  # fmt: skip
    split.add_argument("--name", help="folder under splits/ [the rule]")
    split.add_argument("--block", type=float, help=f"side of a block [m] [{DEFAULT.block:g}]")
    split.add_argument(
        "--buffer", type=float, help=f"metres kept between the splits, at least a patch's diagonal [{DEFAULT.buffer:g}]"
    )
    split.add_argument("--seed", type=int, help=f"seed of the blocks' draw [{DEFAULT.seed}]")
    split.add_argument(
        "--shares", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="shares of blocks [0.64 0.16 0.2]"
    )
    split.add_argument(
        "--table", type=Path, metavar="FILE",
        help="print the lists of a table as JSON: for compat CSV with id, pixel_annotated, inventory; for blocks CSV "
        "with id, lon, lat, or patch_locations.geojson",
    )  # fmt: skip
    split.set_defaults(call=_split)


def _add_norm(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    norm = commands.add_parser("norm", help="mean and standard deviation per band of a split's train patches")
    norm.add_argument("dataset", nargs="?", metavar="DIR", help="dataset with a split, or its store's URL")
    norm.add_argument("--split", default=DEFAULT_NAME, help="name of the split [blocks]")
    norm.add_argument(
        "--rule", choices=("valid", "compat"), default="valid",
        help="valid: pixels with data; compat: every pixel, gaps filled, as Sen12Landslides counted [valid]",
    )  # fmt: skip
    norm.add_argument("--clear", action="store_true", help="leave out Sentinel-2 pixels under cloud or cloud shadow")
    norm.add_argument("--table", type=Path, metavar="CSV", help="instead of DIR: statistics per file, with --paths")
    norm.add_argument("--paths", type=Path, metavar="JSON", help="data_paths.json: which files of --table train")
    norm.set_defaults(call=_norm)


def _split(options: argparse.Namespace) -> int:
    rule = _block_rule(options)
    if bool(options.datasets) == (options.table is not None):
        raise RecipeError("name datasets to divide, or a table with --table, and not both")
    if options.table is not None:
        if options.name is not None:
            raise RecipeError("--name is for datasets: the lists of a table are printed")
        parts = compat_split(read_split_table(options.table)) if rule is None else _divided_table(options.table, rule)
        print(json.dumps(parts, indent=1))
        return 0
    with ExitStack() as opened:
        mirrors = [opened.enter_context(open_mirror(place)) for place in _once(options.datasets)]
        _divide(mirrors, options.name or options.rule, rule)
    return 0


def _once(places: Sequence[str]) -> Sequence[str]:
    if len({place.rstrip("/") for place in places}) < len(places):
        raise RecipeError("a dataset is named twice; name each once")
    return places


def _divide(mirrors: Sequence[Mirror], name: str, rule: BlockRule | None) -> None:
    for mirror in mirrors:
        split_folder(mirror.folder, name)
    tables = read_patches([mirror.folder for mirror in mirrors])
    if rule is None:
        names = divide_as_published(tables, lend=lender(map(whole_copy, mirrors)))
    else:
        names = divide_by_blocks(tables, rule)
    described: dict[str, Any] = {"rule": "compat"} if rule is None else describe(rule)
    found = write_division(tables, names, name, described, described.get("buffer") or NEAR)
    for mirror in mirrors:
        mirror.push()
        print(f"lists and map: {mirror.name}/splits/{name}")
    _warn_without_val(found.patches or {})
    print(_in_words(found))


def _block_rule(options: argparse.Namespace) -> BlockRule | None:
    """Return the rule of the options; None where the published one is asked for."""
    given = {key: getattr(options, key) for key in ("block", "buffer", "seed") if getattr(options, key) is not None}
    if options.shares is not None:
        train, given["val"], given["test"] = options.shares
        if not abs(sum(options.shares) - 1.0) < 1e-9 or train <= 0.0:
            raise RecipeError(f"--shares {' '.join(f'{share:g}' for share in options.shares)} must add up to 1")
    if options.rule == "blocks":
        return BlockRule(**given)
    if given:
        raise RecipeError("--block, --buffer, --seed and --shares are for --rule blocks: the published rule has none")
    return None


def _divided_table(path: Path, rule: BlockRule) -> dict[str, list[str]]:
    places = read_places(path)
    codes = block_splits(lon=places["lon"].to_numpy(), lat=places["lat"].to_numpy(), rule=rule)
    names = checked_names(np.array(SPLITS, object)[codes])
    parts = {part: sorted(places["id"][names == part]) for part in PARTS}
    _warn_without_val({part: len(ids) for part, ids in parts.items()})
    return parts


def _warn_without_val(counts: Mapping[str, int]) -> None:
    if not counts.get("val", 0):
        print(
            "sen12: warning: no patch is in val; a smaller --block or --buffer, or another --seed, may put some there",
            file=sys.stderr,
        )


def _audit(options: argparse.Namespace) -> int:
    with open_copy(options.locations) as copy:
        result = _audited(copy.folder, options)
    print(json.dumps(result.as_dict(), indent=1, allow_nan=False) if options.json else _in_words(result))
    return 0


def _audited(locations: Path, options: argparse.Namespace) -> Audit:
    if locations.is_dir():
        root, name = _split_of(locations, options.name)
        distance = options.distance if options.distance is not None else read_rule(root, name).get("buffer") or NEAR
        return audit_split(read_patches([root]), name, distance=distance)
    if options.name is not None:
        raise RecipeError("--name is for datasets: a file of locations holds one split")
    distance = options.distance if options.distance is not None else NEAR
    return audit(read_locations(locations), distance=distance)


def _split_of(path: Path, name: str | None) -> tuple[Path, str]:
    """Return dataset and name of a split that is named by its own folder, or by its dataset's."""
    if (path / "train.txt").is_file():
        if name is not None:
            raise RecipeError(f"{path} is a split already; drop --name")
        return path.resolve().parent.parent, path.resolve().name
    held = split_names(path)
    if name is None and not held:
        raise LayoutError(f"{path} has no split; make one with `sen12 split {path}`")
    return path, name or (held[0] if len(held) == 1 else DEFAULT_NAME)


def _norm(options: argparse.Namespace) -> int:
    if options.dataset is not None and options.table is None and options.paths is None:
        rule = NormRule(rule=options.rule, clear=options.clear)
        with open_mirror(options.dataset) as mirror:
            norm = split_norm(mirror.folder, options.split, rule, lend=whole_copy(mirror).lend)
            write_document(split_folder(mirror.folder, options.split) / NORM, norm)
            mirror.push()
        return _print_json(norm)
    if options.dataset is None and options.table is not None and options.paths is not None:
        return _print_json(pooled_norm(options.table, options.paths))
    raise RecipeError("name a dataset, or give --table and --paths together, and not both")


def _print_json(content: Mapping[str, Any]) -> int:
    print(json.dumps(content, indent=1, allow_nan=False))
    return 0


def _in_words(found: Audit) -> str:
    lines = [
        f"{found.test_patches} test patches; a train patch shares an edge with {found.edge_share:.1%}, "
        f"an edge or corner with {found.neighbour_share:.1%}, and lies within {found.distance:g} m of "
        f"{found.near_share:.1%}"
    ]
    if found.patches is not None:
        lines.insert(0, "patches: " + ", ".join(f"{count} {part}" for part, count in found.patches.items()))
    if found.smallest_distance is not None:
        lines.append(f"the nearest train and test patches lie {found.smallest_distance:.0f} m apart")
    shared = _shared_in_words(found)
    if shared:
        lines.append(f"test patches that share with a train patch: {', '.join(shared)}")
    return "\n".join(lines)


def _shared_in_words(found: Audit) -> Sequence[str]:
    shares = {
        "an event": found.same_event_share,
        "a region's day of events": found.same_trigger_share,
        "a Sentinel-2 acquisition": found.same_acquisition_share,
    }
    return [f"{what} {share:.1%}" for what, share in shares.items() if share is not None]
