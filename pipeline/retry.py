"""Reading again what proved of no use: a file may have been put back, or a provider mended."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.catalog import Decided, read_decided, replanned, write_replanned
from pipeline.errors import LayoutError, RecipeError, TransientSourceError
from pipeline.failover import settled
from pipeline.folder import read_recipe
from pipeline.receipts import find_receipt, load_receipt, plan_digest
from pipeline.records import UNUSABLE, PlanRow, Product, Reason, Recipe, Unreadable, unreadable_in
from pipeline.sources.copies import is_same_processing
from pipeline.sources.mirrors import Mirrors
from pipeline.stages import shards_of

RETRIED = UNUSABLE | {Reason.UNREACHABLE}
"""Reasons that `forget` takes: what reading again, and where it was planned first, may change."""


def forget(root: Path, reason: str, sample_id: str | None = None) -> str:
    """Let the next build read again what is missing, or was replaced, for `reason`; returns what that is in one line.

    Parameters
    ----------
    root
        The dataset's folder.
    reason
        unreadable, empty or too_much_missing; unreachable takes back what `turn_to_mirrors` did; of `unfinished` files
        nothing needs to be forgotten.
    sample_id
        Only what concerns this sample; None takes all.

    Raises
    ------
    RecipeError
        The reason is none that reading again could change, or nothing is missing for it.
    """
    recipe, decided = read_recipe(root), read_decided(root)
    if sample_id is not None and sample_id not in decided.places:
        raise RecipeError(f"{root} has no sample {sample_id}; samples.parquet lists them")
    if reason == "unfinished":
        return "files that are unfinished are built"
    if reason not in RETRIED:
        known = reason in set(Reason)
        said = "follows from the plan, and reading again cannot change it" if known else "is no reason of the ledger"
        raise RecipeError(f"--reason {reason} {said}; there are {', '.join(sorted(RETRIED))} and unfinished")
    images = {_image(row) for row in decided.unreadable if row.reason == reason and sample_id in {None, row.sample_id}}
    files = _drop_receipts(root, decided, recipe, reason, sample_id)
    if not images and not files:
        raise RecipeError(
            f"nothing that was read is missing in {root} because it is {reason}; "
            "what the survey could not read is told by survey.parquet, and is asked again by a new plan (--overwrite)"
        )
    left = [row for row in decided.unreadable if _image(row) not in images]
    # A mirror that lacked them may have them by now.
    scenes = {name for row in decided.unreadable if _image(row) in images for name in row.scene_ids}
    copies = tuple(copy for copy in decided.copies if copy.scene is not None or copy.scene_id not in scenes)
    write_replanned(root, replanned(replace(decided, copies=copies), left, recipe))
    return f"{len(images)} images that were {reason} are read again" + (f", and {files} files" if files else "")


def _image(row: Unreadable) -> tuple[str, str, str]:
    return (row.sample_id, row.product, row.acquisition)


def _drop_receipts(root: Path, decided: Decided, recipe: Recipe, reason: str, sample_id: str | None) -> int:
    """Remove receipts that tell of planned images missing for `reason`; returns how many files are built again."""
    dropped = 0
    for shard in shards_of(decided, recipe):
        try:
            found = unreadable_in(shard, load_receipt(root / shard.receipt_path))
        except (LayoutError, OSError):
            continue
        if any(image.reason == reason and sample_id in {None, image.sample_id} for image in found):
            (root / shard.receipt_path).unlink()
            dropped += 1
    return dropped


def turn_to_mirrors(
    root: Path, mirrors: Mirrors, sample_id: str | None = None, *, any_baseline: bool = False
) -> list[str]:
    """Have what unfinished files read from the dataset's own source read from its mirrors; returns what that is.

    It is for a source that is away for long, and noted in unreadable.parquet: from now on the plan says so. Only images
    are taken that a mirror has in the same processing baseline, so that no value depends on the outage.

    Parameters
    ----------
    root
        The dataset's folder.
    mirrors
        Those of the dataset.
    sample_id
        Only what concerns this sample; None takes all.
    any_baseline
        Also take copies of another processing baseline, whose values differ a little; the metadata says so.

    Raises
    ------
    RecipeError
        There is nothing to take from mirrors.
    TransientSourceError
        A mirror does not answer either.
    """
    recipe, decided = read_recipe(root), read_decided(root)
    asked = {
        image
        for shard in shards_of(decided, recipe)
        if find_receipt(root, shard, plan_digest(shard, recipe)) is None
        for row in shard.rows
        if sample_id in {None, row.sample_id}
        for image in _unreachable(row, shard.kind.product)
    }
    if not asked:
        raise RecipeError(f"no unfinished file in {root} reads anything from the dataset's own source")
    found = settled(decided, (*decided.unreadable, *asked), recipe, mirrors)
    if found.waiting:
        raise TransientSourceError(found.problem)
    refused = _refused(asked, found.decided, any_baseline=any_baseline)
    kept = [image for image in asked if _key(image) not in refused]
    write_replanned(
        root, replanned(replace(decided, copies=found.decided.copies), (*decided.unreadable, *kept), recipe)
    )
    return _turned_lines({_key(image) for image in kept}, refused)


Key = tuple[str, str]
"""Sample and acquisition: the levels of a Sentinel-2 image are read from one provider."""


def _key(image: Unreadable) -> Key:
    return (image.sample_id, image.acquisition)


def _unreachable(row: PlanRow, product: Product) -> Iterator[Unreadable]:
    choice = row.choice
    if choice is not None and choice.assets and not choice.source:
        yield Unreadable(
            sample_id=row.sample_id,
            product=product,
            acquisition=choice.acquisition,
            modality=row.modality,
            reason=str(Reason.UNREACHABLE),
            detail="its own source did not answer, and its user had mirrors asked",
            scene_ids=tuple(asset.scene_id for asset in choice.assets),
        )


def _refused(asked: Iterable[Unreadable], now: Decided, *, any_baseline: bool) -> dict[Key, str]:
    """Return the images that stay where they are planned, and why."""
    names = {(image.product, name) for image in asked for name in image.scene_ids}
    scenes = {key: scene for scene in now.scenes if (key := (scene.product, scene.id)) in names}
    copies = {(copy.source, copy.product, copy.scene_id): copy for copy in now.copies}
    read_from = {
        (row.sample_id, row.choice.acquisition): row.choice.source
        for row in now.rows
        if row.choice and row.choice.assets
    }
    refused: dict[Key, str] = {}
    for image in asked:
        source = read_from.get(_key(image), "")
        keys = [(image.product, name) for name in image.scene_ids]
        held = [(copies.get((source, *key)), scenes[key]) for key in keys]
        if not source:
            refused[_key(image)] = "no mirror has them"
        elif not any_baseline and not all(copy and is_same_processing(copy, scene) for copy, scene in held):
            refused[_key(image)] = "mirrors have another processing baseline (--any-baseline takes it)"
    return refused


def _turned_lines(kept: Collection[Key], refused: Mapping[Key, str]) -> list[str]:
    reasons = Counter(refused.values())
    lines = [f"{len(kept)} images of unfinished files are read from mirrors"]
    return lines + [f"{count} images are not: {reason}" for reason, count in sorted(reasons.items())]
