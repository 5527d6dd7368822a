"""Commands beside building: drawing places, checking, repairing, counting, archives and recipes."""

import argparse
import json
from pathlib import Path

from pipeline import published
from pipeline.archive import write_archive, write_seasonal_archive
from pipeline.cli.splits import add_splits
from pipeline.copies import open_copy
from pipeline.errors import RecipeError
from pipeline.publish import findings_of
from pipeline.recipes import load_recipe, recipe_names, recipe_to_yaml
from pipeline.sampling.draw import Drawn, DrawRequest, NearCities, OnLand, draw_places
from pipeline.sampling.match import match_places
from pipeline.sampling.output import write_places
from pipeline.sampling.strata import Strata

EXIT_FOUND = 1

REGRID_GAP = 300.0
"""Metres kept between patches that may move to a neighbouring zone's grid, which turns them by a few degrees."""


def add_tools(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser."""
    _add_sample(commands)
    check = commands.add_parser("validate", help="check a dataset, or any SSL4EO-S12 v1.1 folder: a line per finding")
    check.add_argument("dataset", help="folder, or an object store's URL: its files are read one at a time")
    check.set_defaults(call=_validate)
    repair = commands.add_parser(
        "repair", help="put radar whose times contradict its file ids in order, in a new folder"
    )
    repair.add_argument("dataset", type=Path)
    repair.add_argument("--out", type=Path, required=True, help="folder of the repaired copy")
    repair.set_defaults(call=_repair)
    stats = commands.add_parser("stats", help="print exact mean and standard deviation per band as JSON")
    stats.add_argument("dataset", type=Path)
    stats.add_argument("--split", default="train", help="folder to count [train]")
    stats.set_defaults(call=_stats)
    add_splits(commands)
    archive = commands.add_parser("archive", help="write an embedded archive (generated, not observed)")
    archive.add_argument("folder", type=Path)
    archive.add_argument("--seasonal", action="store_true", help="four seasons with Level-1C, for ssl4eo-s12")
    archive.set_defaults(call=_archive)
    recipes = commands.add_parser("recipe", help="print a recipe, with overrides applied, or the names of all")
    recipes.add_argument("recipe", nargs="?", help="name or YAML file")
    add_overrides(recipes)
    recipes.set_defaults(call=_recipe)


def add_overrides(command: argparse.ArgumentParser) -> None:
    """Add `--set` to a command."""
    command.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
        help="override a recipe value: dotted key, YAML value; may be repeated",
    )  # fmt: skip


def _add_sample(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sample = commands.add_parser("sample", help="draw places near cities or on land, no two patches overlapping")
    sample.add_argument("recipe", help=f"whose patches they are for: name ({', '.join(recipe_names())}) or YAML file")
    sample.add_argument("--out", type=Path, required=True, help="places file to write, .csv or .parquet")
    sample.add_argument("--count", type=int, default=1000, help="places to draw [1000]")
    how = sample.add_mutually_exclusive_group()
    how.add_argument("--on-land", action="store_true", help="anywhere on land, each square metre as likely")
    how.add_argument("--match", metavar="FILE", help="reuse these places: CSV id,lon,lat or GeoParquet")
    sample.add_argument("--cities", type=int, default=10_000, help="most populous cities to draw around [10000]")
    sample.add_argument("--std-km", type=float, default=50.0, help="spread around a city [50]")
    sample.add_argument("--city-list", metavar="CSV", help="your city list; by default GeoNames")
    sample.add_argument("--land", metavar="FILE", help="your polygons of land; by default GLOBE")
    sample.add_argument("--strata", metavar="BY", help="continent, country, or a file of polygons with a column name")
    sample.add_argument(
        "--quota", choices=("equal", "proportional"), default="equal", help="places per stratum [equal]"
    )
    add_overrides(sample)
    sample.set_defaults(call=_sample)


def _sample(options: argparse.Namespace) -> int:
    recipe = load_recipe(options.recipe, options.overrides)
    if options.match:
        drawn = match_places(options.match, recipe, land=options.land)
    else:
        if options.count < 1:
            raise RecipeError(f"--count {options.count} draws nothing")
        cities = NearCities(path=options.city_list, largest=options.cities, std_km=options.std_km)
        strata = Strata(by=options.strata, quota=options.quota) if options.strata else None
        request = DrawRequest(
            recipe=recipe,
            count=options.count,
            method=OnLand() if options.on_land else cities,
            strata=strata,
            land=options.land,
            gap=REGRID_GAP if recipe.seasons is not None else 0.0,
        )
        drawn = draw_places(request)
    places, rejected, report = write_places(options.out, drawn)
    return _print_drawn(drawn, places, rejected, report)


def _print_drawn(drawn: Drawn, places: Path, rejected: Path, report: Path) -> int:
    print(f"{len(drawn.places)} places: {places}\n{len(drawn.rejected)} draws rejected: {rejected}\nreport: {report}")
    if len(drawn.unplaced):
        print(f"{len(drawn.unplaced)} ids found no place: see the report")
        return EXIT_FOUND
    return 0


def _validate(options: argparse.Namespace) -> int:
    with open_copy(options.dataset) as copy:
        findings = findings_of(copy.folder, lend=copy.lend)
    for finding in findings:
        print(finding)
    print(f"{options.dataset}: {len(findings)} findings")
    return EXIT_FOUND if findings else 0


def _repair(options: argparse.Namespace) -> int:
    repair = published.repair_folder(options.dataset, options.out)
    for finding in (*repair.repaired, *repair.left):
        print(finding)
    print(f"{options.out}: {len(repair.repaired)} files put in order, {repair.copied} copied, {len(repair.left)} left")
    return EXIT_FOUND if repair.left else 0


def _stats(options: argparse.Namespace) -> int:
    print(json.dumps(published.folder_statistics(options.dataset, options.split), indent=1, allow_nan=False))
    return 0


def _archive(options: argparse.Namespace) -> int:
    if options.seasonal:
        seasonal = write_seasonal_archive(options.folder)
        print(f"catalogue: {seasonal.catalog}\nplaces: {seasonal.places}")
        return 0
    archive = write_archive(options.folder)
    print(f"catalogue: {archive.catalog}\ninventory: {archive.inventory}\nevent: {archive.event_date}")
    return 0


def _recipe(options: argparse.Namespace) -> int:
    if options.recipe is None:
        print("\n".join(recipe_names()))
    else:
        print(recipe_to_yaml(load_recipe(options.recipe, options.overrides)), end="")
    return 0
