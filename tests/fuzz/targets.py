"""What is done with a mutated input, and when the result counts as correct."""

import contextlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fuzz.binary import mutate_parquet, mutate_tiff, mutate_zip
from fuzz.outcomes import CORRECT, REFUSED, WEIGHTS, Ended
from fuzz.plain import mutate_json, mutate_lines
from fuzz.site import Site, open_catalogue, query_of
from pipeline.catalog import read_decided
from pipeline.catalog.codec import from_table, to_table
from pipeline.catalog.scenes import scenes_over
from pipeline.cli import main
from pipeline.errors import PipelineError, SourceError
from pipeline.folder import read_recipe
from pipeline.plan.rows import plan_rows
from pipeline.published.arrays import opened
from pipeline.recipes import load_recipe, recipe_to_yaml
from pipeline.records import PatchGrid, PlanRow, Sample, Scene
from pipeline.sampling import read_places
from pipeline.sources import static
from pipeline.sources.cog.reader import CogReader
from pipeline.sources.items import scene_from_item
from pipeline.sources.reading import open_reader
from pipeline.sources.window import Wanted, open_reference

_BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40))])
YAML_POISON = (
    "a: &a [x]\nb: *a", "!!python/object/apply:os.system ['touch evil']", "!!python/name:os.system", "*nobody", _BOMB,
    "&a [*a]", "1e999", ".nan", "-.inf", "2024-13-45", "!!int x", "!!float y", "!!timestamp z", "!!binary '*'",
    "9" * 5000, "0x" + "f" * 4000, "99999:99:99:99", "[" * 3000, "{" * 3000, "- " * 2000, "? x", "|", "\t", "%YAML 9",
    "---", "null", "~", "''", '"\\ud800"', "\x00", "-1", "0", "1", "true", "[]", "{}", "9999999999", "../../evil",
    "/evil", "a/b", "x" * 9999,
)  # fmt: skip
CSV_POISON = (
    "", ",", '"', '"""', "\x00", "nan", "inf", "-inf", "1e999", "200", "-95", "x" * 9999, "../../evil",
    "=cmd|' /C calc'!A0",
    "2022-02-30", "9" * 400, ",,,,,,,,,,", "p1,14,46,2022-01-01", "\r", "é", "\ud800", "1_000", "٣",
)  # fmt: skip


_LAYER = '<OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>'
VIRTUAL = f"<OGRVRTDataSource>{_LAYER}</OGRVRTDataSource>"

SAMPLE = TypeAdapter(Sample)
MOST_SAMPLES = 1000


class WrongError(Exception):
    """A result that is neither an error nor correct."""


def require(is_met: bool, what: str) -> None:
    if not is_met:
        raise WrongError(what)


def catalogue(site: Site, case: Path, chance: random.Random) -> str:
    """Search a catalogue of which one document is changed: what the others say is found all the same."""
    shutil.copytree(site.catalogue.parent, case / "stac", ignore=shutil.ignore_patterns("*.tif"))
    product = chance.choice(("S2L2A", "S1", "DEM"))
    documents = sorted((case / "stac").rglob("*.json"))
    target = chance.choice((case / "stac" / "catalog.json", *documents, *documents[:4]))
    is_item = target.parent.parent.parent == case / "stac"
    expected = {scene.id: scene for scene in open_catalogue(case / "stac" / "catalog.json").search(query_of(product))}
    target.write_bytes(mutate_json(json.loads(target.read_text()), chance))
    static._all_scenes.cache_clear()
    found = open_catalogue(case / "stac" / "catalog.json").search(query_of(product))
    for scene in found:
        _require_scene(scene)
    if is_item:
        lost = {*expected} - {scene.id for scene in found} - {target.stem}
        require(not lost, f"a change of {target.name} lost {sorted(lost)[:2]}")
    return CORRECT


def item(site: Site, case: Path, chance: random.Random) -> str:
    """Translate a changed item as any product."""
    path = chance.choice(sorted((site.root / "stac").glob("*/*/*.json")))
    try:
        document = json.loads(mutate_json(json.loads(path.read_text()), chance))
    except (ValueError, RecursionError):
        # Whoever fetches items refuses this; see `catalogue`.
        document = {}
    location = chance.choice((str(path), "https://host/item.json", ""))
    product = {"s": "S2L2A", "c": "DEM"}[path.parts[-3][0]] if "-1-" not in path.parts[-3] else "S1"
    scene = scene_from_item(document if isinstance(document, dict) else {}, product, location=location)  # type: ignore[arg-type]
    _require_scene(scene)
    is_local = [href for href in scene.hrefs.values() if "://" not in href]
    require(not (is_local and location.startswith("https:")), f"a remote item names {is_local[:1]}")
    return CORRECT


def _require_scene(scene: Scene) -> None:
    (held,) = from_table(to_table([scene], Scene), Scene)
    for one in fields(Scene):
        require(getattr(held, one.name) == getattr(scene, one.name), f"{one.name} of a scene does not keep its value")
    TypeAdapter(Scene).validate_python(scene)
    require(not any(href.startswith("/vsi") for href in scene.hrefs.values()), "a scene names a virtual file")


class _Signer:
    def sign(self, href: str) -> str:
        return href

    def gdal_env(self) -> dict[str, str]:
        return {}


def raster(site: Site, case: Path, chance: random.Random) -> str:
    """Read a changed raster with both readers: the same bits, or both refuse."""
    path = case / "band.tif"
    path.write_bytes(mutate_tiff(chance.choice(site.rasters).read_bytes(), chance))
    left, top = 399_960 + 10 * chance.randrange(-20, 100), 5_100_000 - 10 * chance.randrange(-20, 100)
    grid = PatchGrid(epsg=32633, left=left, top=top, size=chance.choice((16, 48)), resolution=chance.choice((10, 20)))
    wanted = Wanted(str(path), chance.choice(("nearest", "bilinear")))
    with open_reader(_Signer()) as reader:
        ours = _read(lambda: reader.read_bands([wanted], grid)[0])
    with open_reference(_Signer()) as reference:
        theirs = _read(lambda: reference.read(wanted.href, grid, resampling=wanted.resampling))
    if isinstance(theirs, SourceError) and "Decoding error" in str(theirs) and not isinstance(ours, SourceError):
        # Damage to pixels in a tile without checksums; GDAL unpacks behind the last row that is wanted, and meets it.
        return CORRECT
    if isinstance(ours, SourceError) and "its index has" in str(ours):
        # GDAL goes on with what is in memory.
        raise ours  # type: ignore[misc]
    if isinstance(ours, SourceError) or isinstance(theirs, SourceError):
        both = isinstance(ours, SourceError) and isinstance(theirs, SourceError)
        require(both, f"one reader refuses: {ours!r} and {theirs!r}"[:300])
        raise theirs  # type: ignore[misc]
    require(_is_same(ours, theirs) or _is_unsettled(ours, wanted, grid), "the readers differ")
    return CORRECT


def _is_same(ours: Any, theirs: Any) -> bool:
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


def _is_unsettled(ours: Any, wanted: Wanted, grid: PatchGrid) -> bool:
    """Tell whether GDAL differs from itself, while we always read the same.

    Of some tiles with damaged streams it returns in part what happened to be in memory; README says so of what only
    GDAL can read, as pixels of another size.
    """
    theirs = []
    for _ in range(30):
        with open_reader(_Signer()) as reader, open_reference(_Signer()) as reference:
            again = reader.read_bands([wanted], grid)[0]
            left = isinstance(reader, CogReader) and bool(reader.left_to_reference)
            require(_is_same(ours, again) or left, "our reader differs from itself")
            theirs.append(_read(lambda: reference.read(wanted.href, grid, resampling=wanted.resampling)))
    sound = [one for one in theirs if not isinstance(one, SourceError)]
    return any(not _is_same(one, sound[0]) for one in sound)


def _read(call: Callable[[], Any]) -> Any:
    try:
        return np.ascontiguousarray(call())
    except SourceError as err:
        return err


def table(site: Site, case: Path, chance: random.Random) -> str:
    """Check a dataset of which one table is changed; a clean answer means that the table says the same."""
    root = _linked(site.dataset, case / "dataset")
    target = chance.choice((*sorted(root.rglob("*.parquet")), root / "mirrors.json"))
    if target.suffix == ".json":
        return _mirrors(root, target, chance)
    before = pq.read_table(target)
    _replace(target, mutate_parquet(target.read_bytes(), chance))
    if command(["validate", str(root)]) != 0:
        return REFUSED
    differing = _differing(before, pq.read_table(target)) - TOLD_ONCE.get(target.stem, frozenset())
    if differing and target.stem in CHOSEN_FROM:
        # What was there to choose from is told nowhere else; a change of it matters where another plan comes of it.
        require(_is_followed(root), f"the plan does not follow from {', '.join(sorted(differing))} of {target.name}")
    else:
        require(not differing, f"{', '.join(sorted(differing))} of {target.name} differ unseen")
    return CORRECT


def _mirrors(root: Path, target: Path, chance: random.Random) -> str:
    _replace(target, mutate_json(json.loads(target.read_bytes()), chance))
    if command(["validate", str(root)]) != 0:
        return REFUSED
    require(_is_followed(root), "the plan does not follow from mirrors.json")
    return CORRECT


CHOSEN_FROM = ("scenes", "survey", "unreadable", "copies")
TOLD_ONCE = {
    "samples": frozenset(("geometry", "lattice_x", "lattice_y", "region")),
    "plan": frozenset(("shard",)),
    "unreadable": frozenset(("detail", "modality", "scene_ids")),
}
"""Columns for readers: nothing is made from them, and no other table tells the same."""


def _is_followed(root: Path) -> bool:
    """Tell whether planning from the tables of a dataset makes its plan."""
    held = read_decided(root)
    near, kinds = scenes_over(held.scenes, held.samples)
    scores = {(score.sample_id, score.acquisition): score for score in held.scores}
    made = plan_rows(held.samples, near, scores, read_recipe(root), held.unreadable, kinds=kinds, copies=held.mirrored)
    return _by_place(made) == _by_place(held.rows)


def _by_place(rows: Iterable[PlanRow]) -> dict[tuple[str, str, int], PlanRow]:
    return {(row.sample_id, row.modality, row.timestep): row for row in rows}


def _differing(before: pa.Table, after: pa.Table) -> set[str]:
    """Return the columns that are not as they were."""
    if before.num_rows != after.num_rows:
        return {"rows"}
    names = set(after.column_names)
    return {name for name in before.column_names if name not in names or _told(before, name) != _told(after, name)}


def _told(table: pa.Table, name: str) -> str:
    """Return a column's values; those of events in the order of their ids, for they are looked up by them."""
    if set(table.column_names) >= {"id", "date", "geometry"} and "grid" not in table.column_names:
        table = table.sort_by("id")
    return repr(table[name].to_pylist())


def resume(site: Site, case: Path, chance: random.Random) -> str:
    """Go on with a dataset of which a table, a receipt or the recipe is changed, and lacks a file."""
    root = _linked(site.dataset, case / "dataset")
    kept = sorted((root / "receipts").rglob("*.json"))
    others = (chance.choice(kept), root / "recipe.yaml", root / "provenance.json", root / "mirrors.json")
    target = chance.choice((*sorted(root.glob("*.parquet")), *others))
    data = target.read_bytes()
    if target.suffix == ".parquet":
        _replace(target, mutate_parquet(data, chance))
    elif target.suffix == ".json":
        _replace(target, mutate_json(json.loads(data), chance))
    else:
        _replace(target, mutate_lines(data.decode(), YAML_POISON, chance))
    chance.choice(sorted(root.rglob("*.zarr.zip"))).unlink()
    return CORRECT if command(site.order.arguments(root, "--resume")) == 0 else REFUSED


def recipe(site: Site, case: Path, chance: random.Random) -> str:
    """Load a changed recipe; what is accepted survives being written and read."""
    path = case / "recipe.yaml"
    path.write_bytes(mutate_lines((site.root / "recipe.yaml").read_text(), YAML_POISON, chance))
    loaded = load_recipe(str(path))
    path.write_text(recipe_to_yaml(loaded), encoding="utf-8")
    require(load_recipe(str(path)) == loaded, "a recipe changes when it is written and read")
    return CORRECT


def shard(site: Site, case: Path, chance: random.Random) -> str:
    """Open a changed shard and read everything in it: it fits its own sizes, or is refused."""
    path = case / "shard.zarr.zip"
    source = chance.choice(sorted(site.dataset.rglob("*.zarr.zip")))
    path.write_bytes(mutate_zip(source.read_bytes(), chance, canary=case / "canary"))
    with opened(path) as dataset:
        size = sum(variable.nbytes for variable in dataset.variables.values())
        if size > 1 << 28:
            # Nobody reads so much at once; each chunk of it is bounded by itself.
            return CORRECT
        for variable in dataset.variables.values():
            require(variable.values.shape == variable.shape, "an array has another shape than it says")
    return CORRECT


def published(site: Site, case: Path, chance: random.Random) -> str:
    """Check, count and repair a folder of published files of which one is changed."""
    root = _linked(site.published, case / "published")
    target = chance.choice([file for file in sorted(root.rglob("*")) if file.suffix in {".zip", ".parquet"}])
    if target.suffix == ".zip":
        _replace(target, mutate_zip(target.read_bytes(), chance, canary=case / "canary"))
    else:
        _replace(target, mutate_parquet(target.read_bytes(), chance))
    what = chance.choice((["validate"], ["validate"], ["stats"], ["repair", "--out", str(case / "published" / "new")]))
    if what[0] == "repair":
        what = ["repair", "--out", str(case / "repaired")]
    code = command([what[0], str(root), *what[1:]])
    shutil.rmtree(case / "repaired", ignore_errors=True)
    return CORRECT if code == 0 else REFUSED


def places(site: Site, case: Path, chance: random.Random) -> str:
    """Read a changed inventory or points file; what is accepted lies on the globe under safe names."""
    source = chance.choice(site.places)
    path = case / source.name
    if source.suffix == ".csv":
        path.write_bytes(mutate_lines(source.read_text(), CSV_POISON, chance))
    elif chance.random() < 0.03:
        path.write_text(VIRTUAL)
    else:
        path.write_bytes(mutate_json(json.loads(source.read_text()), chance))
    placement = read_places(path, read_recipe(site.dataset))
    # A polygon as wide as a continent has a patch in every cell of it.
    for sample in placement.samples[:MOST_SAMPLES]:
        SAMPLE.validate_python(sample)
        require(abs(sample.lon) <= 180 and abs(sample.lat) <= 90, f"{sample.id} lies off the globe")
        require("/" not in sample.id and sample.id not in ("", ".", ".."), f"{sample.id!r} is no name")
    return CORRECT


def command(arguments: Sequence[str]) -> int:
    """Run the command line; a failure must be told in one line."""
    printed, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = main(list(arguments))
    errors = [line for line in said.getvalue().splitlines() if line.startswith("sen12: error: ")]
    require(code in (0, 1, 2), f"exit code {code}")
    require(len(errors) <= 1 and "Traceback" not in said.getvalue(), "more than one line of error")
    require(code != 2 or len(errors) == 1, "a wrong request without a word")
    return code


def _linked(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, copy_function=os.link)
    return target


def _replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


Target = Callable[[Site, Path, random.Random], str]
TARGETS: dict[str, Target] = {
    target.__name__: target for target in (catalogue, item, raster, table, resume, recipe, shard, published, places)
}


def run_case(site: Site, case: Path, chance: random.Random, only: str = "") -> Ended:
    """Draw a target and an input for it, and say what became of it."""
    names = [only] if only else list(TARGETS)
    (name,) = chance.choices(names, [WEIGHTS[one] for one in names])
    try:
        return Ended(name, TARGETS[name](site, case, chance))
    except PipelineError as err:
        text = str(err)
        is_clear = "\n" not in text.strip() and len(text) > 10
        return Ended(name, REFUSED if is_clear else "unclear", "" if is_clear else repr(text))
    except WrongError as err:
        return Ended(name, "wrong", str(err))
    except MemoryError as err:
        return Ended(name, "memory", repr(err))
    finally:
        static._all_scenes.cache_clear()
