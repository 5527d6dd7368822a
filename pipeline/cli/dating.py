"""The command that dates an inventory."""

import argparse
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

from pipeline.cli.cluster import add_cluster
from pipeline.cli.tools import add_overrides
from pipeline.cluster import Runner
from pipeline.dating import Dated, DatingRequest, IntervalRules, Progress, date_inventory
from pipeline.dating.series import REASONS
from pipeline.dating.tables import check_out, series_path, write_dated
from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe, recipe_names
from pipeline.sources import open_source


def add_dating(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", call: Callable[[argparse.Namespace], int]
) -> None:
    """Add the command to a parser; `call` runs it."""
    text = "date the undated polygons of an inventory by their Sentinel-2 vegetation index"
    command = commands.add_parser("date", help=text, description=text)
    command.add_argument("recipe", help=f"name ({', '.join(recipe_names())}) or YAML file")
    command.add_argument("--places", required=True, help="inventory of polygons")
    command.add_argument("--source", required=True, help="provider name, or path or URL of a STAC catalogue")
    command.add_argument("--start", required=True, metavar="YYYY-MM-DD", help="first day of images")
    command.add_argument("--end", required=True, metavar="YYYY-MM-DD", help="last day of images")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DATED.parquet", help="file to write; DATED.ndvi.parquet goes beside"
    )
    command.add_argument(
        "--method", choices=("interval", "compat"), default="interval",
        help="the last clear image without and the first one with the slide, or Sen12Landslides' rule [interval]",
    )  # fmt: skip
    command.add_argument("--all", action="store_true", help="look at polygons that have a date, too; they keep it")
    usual = IntervalRules()
    rules = command.add_argument_group("rules of the method interval")
    rules.add_argument("--min-drop", type=float, default=usual.min_drop, help=f"least fall of NDVI [{usual.min_drop}]")
    rules.add_argument(
        "--min-observations", type=int, default=usual.min_observations,
        help=f"least clear days before and after it, each [{usual.min_observations}]",
    )  # fmt: skip
    rules.add_argument(
        "--window", type=int, default=usual.window, help=f"days before and after that are compared [{usual.window}]"
    )
    rules.add_argument(
        "--min-clear", type=float, default=usual.min_clear,
        help=f"least clear share of the polygon on a day that counts [{usual.min_clear}]",
    )  # fmt: skip
    add_overrides(command)
    add_cluster(command)
    command.set_defaults(call=call)


def date_places(options: argparse.Namespace, runner: Runner, progress: Progress) -> Dated:
    """Run the command and write its files."""
    request = _request(options)
    check_out(options.out)
    source = open_source(options.source, request.recipe.collections)
    dated = date_inventory(request, source, runner, progress)
    write_dated(options.out, dated.table, dated.series)
    return dated


def print_dated(dated: Dated, out: Path) -> None:
    """Print how many polygons have a date, whose it is, and why the others have none."""
    methods = Counter(row.method for row in dated.rows if row.method)
    reasons = Counter(row.reason for row in dated.rows if row.reason)
    dates = ", ".join(f"{count} by {method}" for method, count in sorted(methods.items())) or "none"
    print(f"{len(dated.rows)} polygons; dated: {dates}; undatable: {sum(reasons.values())}")
    for reason, count in sorted(reasons.items()):
        print(f"undatable: {count} × {reason}: {REASONS[reason]}")
    if dated.unreadable:
        print(f"warning: {dated.unreadable} observations could not be read and are absent; -v names them")
    print(f"dates: {out}\nseries: {series_path(out)}")


def _request(options: argparse.Namespace) -> DatingRequest:
    return DatingRequest(
        recipe=load_recipe(options.recipe, options.overrides),
        places=options.places,
        start=_day(options.start, "--start"),
        end=_day(options.end, "--end"),
        method=options.method,
        rules=IntervalRules(
            min_drop=options.min_drop,
            min_observations=options.min_observations,
            window=options.window,
            min_clear=options.min_clear,
        ),
        is_all=options.all,
    )


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as err:
        raise RecipeError(f"{option} {text} is not a day written as YYYY-MM-DD") from err
