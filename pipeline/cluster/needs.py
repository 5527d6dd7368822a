"""How much memory a worker takes, and how many files it can build at the same time."""

from pipeline.errors import RecipeError
from pipeline.records import Recipe
from pipeline.targets import patch_bytes

FILE_COPIES = {"chunked": 1.25, "published": 1.9}
"""Copies of a file's arrays at once while it is written: a patch is compressed when it is read, and let go of; where a
chunk holds a file's patches of one time, it waits for them. Measured on values that do not compress: 1.14 and 1.78."""
READ_BYTES = 128_000_000
"""What reading takes besides: windows of eight threads, decoded blocks, compiled kernels."""
PROCESS_BYTES = 400_000_000
"""What a worker takes before its first file; measured: 335 MB."""
USABLE_SHARE = 0.8
"""Of its memory; above that share a Dask worker takes no new work."""


def worker_needs(recipe: Recipe) -> int:
    """Return the memory that building one file takes, for the recipe's largest file [bytes]."""
    largest = max(patch_bytes(recipe, name) for name in recipe.modalities)
    return READ_BYTES + round(FILE_COPIES[recipe.store] * recipe.samples_per_shard * largest)


def worker_bound(recipe: Recipe) -> int:
    """Return the most memory that a worker of one thread takes while it builds the recipe's files [bytes]."""
    return PROCESS_BYTES + worker_needs(recipe)


def fitting_threads(needs: int, *, memory: int, at_most: int) -> int:
    """Return how many items a worker can work on at the same time.

    Parameters
    ----------
    needs
        Memory that one item takes [bytes]; 0 if that is not known.
    memory
        Memory of the worker [bytes].
    at_most
        Upper limit, as the worker's processors.

    Raises
    ------
    RecipeError
        Not even one item fits.
    """
    if not needs:
        return at_most
    fitting = int((USABLE_SHARE * memory - PROCESS_BYTES) // needs)
    if fitting < 1:
        least = (needs + PROCESS_BYTES) / USABLE_SHARE
        raise RecipeError(
            f"a worker has {memory / 1e9:.1f} GB of memory and needs {least / 1e9:.1f} GB to build the recipe's "
            "largest file: give workers more memory, have fewer of them on a machine, or lower samples_per_shard"
        )
    return min(fitting, at_most)


def check_threads(needs: int, *, memory: int, threads: int) -> None:
    """Refuse workers whose memory does not hold an item for each of their threads; raises RecipeError."""
    if threads > fitting_threads(needs, memory=memory, at_most=threads):
        raise RecipeError(
            f"{threads} threads a worker are more than its {memory / 1e9:.1f} GB of memory hold: a file takes "
            f"{needs / 1e9:.1f} GB while it is built; use fewer threads, more memory, or lower samples_per_shard"
        )
