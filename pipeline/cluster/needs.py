"""How much memory a worker takes, and how many files it can build at the same time."""

import numpy as np

from pipeline.assemble import READ_THREADS
from pipeline.errors import RecipeError
from pipeline.records import Recipe
from pipeline.sources.earth_engine import NAME as EARTH_ENGINE
from pipeline.sources.earth_engine.packing import LARGEST_REQUEST, MOST_STACKED
from pipeline.targets import patch_bytes

FILE_COPIES = {"chunked": 1.25, "published": 1.9}
"""Copies of a file's arrays at once while it is written: a patch is compressed when it is read, and let go of; where a
chunk holds a file's patches of one time, it waits for them. Measured on values that do not compress: 1.14 and 1.78."""
READ_BYTES = 128_000_000
"""What reading takes besides: tiles on their way, decoded blocks, compiled kernels. Windows that are read together are
smaller than what becomes of them. Files of 64 × 4 × 264 px and 32 × 4 × 768 px take 0.68 and 0.83 of the bound."""
CLIENT_BYTES = 100_000_000
"""What Earth Engine's client adds to a process; measured: 96 MB."""
ANSWER_COPIES = 2.5
"""Of each answer of Earth Engine at once, in every thread: as it comes, decoded, and band by band. Measured over stacks
of 2, 4 and 5 dates at 264, 512 and 600 px: 2.4 and 119 MB besides; a file of 24 × 4 × 512 px takes 871 MB."""
PROCESS_BYTES = 400_000_000
"""What a worker takes before its first file; measured: 335 MB."""
USABLE_SHARE = 0.8
"""Of its memory; above that share a Dask worker takes no new work."""


def worker_needs(recipe: Recipe, source: str = "") -> int:
    """Return the memory that building one file takes, for the recipe's largest file [bytes].

    `source` is what the pixels come from, as `open_source` takes it; whatever is not Earth Engine has files.
    """
    largest = max(patch_bytes(recipe, name) for name in recipe.modalities)
    files = round(FILE_COPIES[recipe.store] * recipe.samples_per_shard * largest)
    answers = CLIENT_BYTES + max(_answers_bytes(recipe, name) for name in recipe.modalities)
    return READ_BYTES + files + (answers if source == EARTH_ENGINE else 0)


def worker_bound(recipe: Recipe, source: str = "") -> int:
    """Return the most memory that a worker of one thread takes while it builds the recipe's files [bytes]."""
    return PROCESS_BYTES + worker_needs(recipe, source)


def _answers_bytes(recipe: Recipe, name: str) -> int:
    """Return the memory that the answers of Earth Engine take in all threads of one file [bytes]."""
    modality = recipe.modality(name)
    if modality.product == "LABELS":
        return 0
    # Radar and elevation come as float32; three bytes a pixel tell classes, and where bands are valid.
    itemsize = 4 if np.dtype(modality.dtype).kind == "f" else 2
    date = recipe.size_of(name) ** 2 * (itemsize * len(recipe.bands_of(name)) + 3)
    stack = min(LARGEST_REQUEST, min(MOST_STACKED, recipe.timesteps_of(name)) * date)
    return round(READ_THREADS * ANSWER_COPIES * stack)


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
