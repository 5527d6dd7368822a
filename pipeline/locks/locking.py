"""Making the lock of a finished dataset."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline.catalog import Decided, read_decided
from pipeline.cluster import Runner, limited
from pipeline.errors import LayoutError
from pipeline.folder import read_provenance, read_recipe
from pipeline.locks.packages import package_versions
from pipeline.locks.record import FORMAT, Lock, LockedShard, write_lock
from pipeline.receipts import plan_digest
from pipeline.records import Recipe, Shard
from pipeline.sources import open_source
from pipeline.sources.access import Signer
from pipeline.sources.identity import AssetIdentity, identify
from pipeline.sources.mirrors import NO_MIRRORS, Mirrors
from pipeline.stages import mirrors_of, shards_of
from pipeline.targets import Target, target_of

Progress = Callable[[int, int], None]

LOCK_NAME = "lock.zip"
"""Where a dataset keeps its lock."""
THREADS = 16
"""Assets asked for at the same time."""


def lock_dataset(root: Path, out: Path, runner: Runner, progress: Progress, *, store: str = "") -> Lock:
    """Write the lock of the finished dataset in `root` to `out`, and return it.

    Every file of pixels is read and its checksum compared with its receipt; every asset that the plan names is asked
    for its size, tag and version, local ones are read for their SHA-256.

    Parameters
    ----------
    root, store
        Folder of the tables; where `store` is given, the object store that holds the rest.
    out
        File to write.
    runner
        Where assets are asked for.
    progress
        Called with how many assets are known, and how many there are.

    Raises
    ------
    LayoutError
        It is no dataset, or a file of it is not built, or not as its receipt says.
    TransientSourceError
        A provider does not answer.
    """
    recipe, provenance, decided = read_recipe(root), read_provenance(root), read_decided(root)
    shards = shards_of(decided, recipe)
    locked = _locked(target_of(root, store), shards, recipe, where=store or str(root))
    source = limited(open_source(provenance["source"], recipe.collections), runner)
    mirrors = mirrors_of(root, provenance["source"], recipe).each(partial(limited, runner=runner))
    lock = Lock(
        format=FORMAT,
        recipe=recipe.name,
        provenance=provenance,
        plan_sha256=digest_of_plan(locked),
        seed=recipe.seed,
        grid=_grid(decided, recipe),
        packages=package_versions(),
        shards=locked,
        assets=tuple(identify_all(asset_hrefs(shards), source, runner, progress, mirrors=mirrors)),
    )
    write_lock(out, lock, root)
    return lock


def _locked(target: Target, shards: Sequence[Shard], recipe: Recipe, where: str) -> tuple[LockedShard, ...]:
    locked: list[LockedShard] = []
    for shard in shards:
        digest = plan_digest(shard, recipe)
        report = target.find(shard, digest)
        if report is None:
            raise LayoutError(
                f"{where}: {shard.path} is not built, or not as its receipt says; finish the dataset with --resume"
            )
        locked.append(LockedShard(path=shard.path, plan_digest=digest, sha256=report.sha256, bytes=report.bytes))
    return tuple(locked)


def digest_of_plan(shards: Sequence[LockedShard]) -> str:
    """Return the SHA-256 of path and plan digest of every file: equal where recipe and plan are, hexadecimal."""
    lines = sorted(f"{shard.plan_digest}  {shard.path}\n" for shard in shards)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _grid(decided: Decided, recipe: Recipe) -> dict[str, float | list[float] | list[str]]:
    zones = sorted({f"EPSG:{sample.grid.epsg}" for sample in decided.samples})
    return {
        "resolution": recipe.resolution,
        "patch_size": recipe.patch_size,
        "anchor": list(recipe.anchor),
        "crs": zones,
    }


def asset_hrefs(shards: Sequence[Shard]) -> dict[str, list[str]]:
    """Return every reference that building reads, sorted, by the mirror that it is read from; `` is the own source."""
    found: dict[str, set[str]] = {}
    for shard in shards:
        for source, hrefs in shard.hrefs_by_source.items():
            found.setdefault(source, set()).update(hrefs)
    return {source: sorted(hrefs) for source, hrefs in sorted(found.items())}


def shard_hrefs(shard: Shard) -> set[str]:
    """Return every reference that building one file reads."""
    return set(shard.hrefs)


def identify_all(
    hrefs: Mapping[str, Sequence[str]],
    source: Signer,
    runner: Runner,
    progress: Progress,
    *,
    mirrors: Mirrors = NO_MIRRORS,
) -> list[AssetIdentity]:
    """Ask who has it, `source` or a mirror, what lies at each reference now; by reference."""
    found: list[AssetIdentity] = []
    total = sum(map(len, hrefs.values()))
    progress(0, total)
    for name, held in hrefs.items():
        asked = mirrors.get(name) if name else source
        for identity in runner.run(partial(identify, source=asked), held, threads=THREADS):
            found.append(identity)
            progress(len(found), total)
    return sorted(found, key=lambda identity: identity.href)
