"""Reading again what proved of no use: a file may have been put back, or a provider mended."""

from pathlib import Path

from pipeline.catalog import Decided, read_decided, replanned, write_replanned
from pipeline.errors import LayoutError, RecipeError
from pipeline.folder import read_recipe
from pipeline.receipts import load_receipt
from pipeline.records import UNUSABLE, Reason, Recipe, Unreadable, unreadable_in
from pipeline.stages import shards_of


def forget(root: Path, reason: str, sample_id: str | None = None) -> str:
    """Let the next build read again what is missing, or was replaced, for `reason`; returns what that is in one line.

    Parameters
    ----------
    root
        The dataset's folder.
    reason
        unreadable, empty or too_much_missing; of `unfinished` files nothing needs to be forgotten.
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
    if reason not in UNUSABLE:
        known = reason in set(Reason)
        said = "follows from the plan, and reading again cannot change it" if known else "is no reason of the ledger"
        raise RecipeError(f"--reason {reason} {said}; there are {', '.join(sorted(UNUSABLE))} and unfinished")
    images = {_image(row) for row in decided.unreadable if row.reason == reason and sample_id in {None, row.sample_id}}
    files = _drop_receipts(root, decided, recipe, reason, sample_id)
    if not images and not files:
        raise RecipeError(
            f"nothing that was read is missing in {root} because it is {reason}; "
            "what the survey could not read is told by survey.parquet, and is asked again by a new plan (--overwrite)"
        )
    left = [row for row in decided.unreadable if _image(row) not in images]
    write_replanned(root, replanned(decided, left, recipe))
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
