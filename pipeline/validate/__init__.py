"""Checks on a finished dataset: returns findings, changes nothing."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from pipeline.catalog import Decided, read_decided, replanned
from pipeline.copies import Lend, in_place
from pipeline.errors import LayoutError, PipelineError, RecipeError
from pipeline.folder import read_provenance, read_recipe
from pipeline.records import Recipe, Shard
from pipeline.validate.findings import Finding
from pipeline.validate.shards import check_shard
from pipeline.validate.tables import check_columns, check_tables

__all__ = ["Finding", "validate"]


def validate(root: Path, *, lend: Lend = in_place) -> list[Finding]:
    """Check every file of the dataset in `root` against its plan, its receipts and the store table.

    Files of pixels are checked one by one, each as `lend` makes it readable.

    Raises
    ------
    LayoutError
        `root` is not a dataset's folder.
    """
    if not root.is_dir():
        raise LayoutError(f"{root} is not a folder")
    try:
        recipe = read_recipe(root)
    except RecipeError as err:
        return [Finding("recipe.yaml", str(err).removeprefix(f"recipe {root / 'recipe.yaml'}: "))]
    try:
        decided = read_decided(root)
        shards = decided.shards(recipe)
        # What only the rows tell is found as they are read.
        deque(shards, maxlen=0)
    except PipelineError as err:
        return [Finding("plan", f"{str(err).removeprefix(str(root)).lstrip('/')}; the dataset must be planned again")]
    if reshaped := [*check_columns(root)]:
        # What their values are compared with would be of other types.
        return sorted(reshaped)
    findings = [*_check_members(root), *_strangers(root, shards), *_check_lost(decided, recipe)]
    findings += check_tables(root, decided, shards)
    for shard in shards:
        with lend(root / shard.path):
            findings += check_shard(root, shard, recipe)
    return sorted(set(findings))


def _check_members(root: Path) -> list[Finding]:
    findings = [Finding("README.md", "is missing; build with --resume")] if not (root / "README.md").is_file() else []
    try:
        read_provenance(root)
    except LayoutError:
        findings.append(Finding("provenance.json", "is missing or damaged: --resume cannot tell what to go on from"))
    return findings


def _check_lost(decided: Decided, recipe: Recipe) -> list[Finding]:
    if replanned(decided, decided.unreadable, recipe).rows == decided.rows:
        return []
    return [Finding("plan.parquet", "does not follow from unreadable.parquet; build with --resume")]


def _strangers(root: Path, shards: Sequence[Shard]) -> list[Finding]:
    expected = {path for shard in shards for path in (shard.path, shard.receipt_path, shard.attempts_path)}
    found = [
        file.relative_to(root).as_posix()
        for folder in ("all", "train", "val", "test", "receipts")
        for file in sorted((root / folder).rglob("*"))
        if file.is_file()
    ]
    found += [
        file.relative_to(root).as_posix() for folder in (".", "metadata") for file in root.glob(f"{folder}/.*.tmp")
    ]
    return [Finding(path, "is in no plan: left over from another build?") for path in found if path not in expected]
