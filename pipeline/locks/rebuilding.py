"""Building a dataset again from its lock: the same bytes, or what changed upstream and what that did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.assemble import BuildOptions
from pipeline.cluster import Runner, limited
from pipeline.errors import RecipeError
from pipeline.folder import read_recipe
from pipeline.locks.locking import Progress, asset_hrefs, identify_all, shard_hrefs
from pipeline.locks.packages import package_versions, version_differences
from pipeline.locks.record import Lock, LockedShard, is_unpacked, unpack_lock
from pipeline.records import Recipe, Shard, ShardReport
from pipeline.sources.identity import AssetIdentity, difference
from pipeline.stages import build, load_plan, shards_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAsset:
    """An asset that is not what the lock says."""

    href: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferentShard:
    """A file whose bytes are not those of the lock."""

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What became of a rebuild."""

    shards: int
    identical: int
    different: tuple[DifferentShard, ...]
    changed: tuple[ChangedAsset, ...]
    """Upstream, by reference; a changed one may still have given the same pixels."""
    packages: tuple[str, ...]
    """Versions that are others than the lock's."""

    @property
    def is_same(self) -> bool:
        """True when every file has the bytes that the lock says."""
        return self.identical == self.shards

    def lines(self) -> list[str]:
        """Return the outcome in words, the verdict last."""
        changed = [f"changed upstream: {asset.href}: {asset.what}" for asset in self.changed]
        versions = [f"other version: {package}" for package in self.packages]
        shards = [f"differs: {shard.path}: {shard.why}" for shard in self.different]
        return [*changed, *versions, *shards, f"{self.identical} of {self.shards} shards identical"]


def prepare_rebuild(lock: Path, out: Path, *, resume: bool) -> Recipe:
    """Write what the lock decides into the folder `out`, or find it there, and return the recipe.

    Raises
    ------
    RecipeError
        The folder is taken, or no leave was given to go on in it.
    LayoutError
        The lock is damaged.
    """
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file; name a folder for the dataset")
    if out.is_dir() and any(out.iterdir()):
        if not is_unpacked(lock, out):
            raise RecipeError(f"{out} is not empty and was not started from {lock}; name another folder")
        if not resume:
            raise RecipeError(f"{out} was started from {lock} already; go on with --resume, or name another folder")
    if not (out / "plan.parquet").is_file():
        unpack_lock(lock, out)
    return read_recipe(out)


def rebuild(lock: Lock, options: BuildOptions, runner: Runner, progress: Progress) -> tuple[Rebuilt, list[ShardReport]]:
    """Build the dataset that lies prepared in `options.root`, and compare every file with the lock.

    Raises
    ------
    TransientSourceError
        A provider does not answer when it is asked about its assets.
    """
    decided, recipe = load_plan(options.root), read_recipe(options.root)
    hrefs = _hrefs_by_source(lock, shards_of(decided, recipe))
    mirrors = options.mirrors.each(partial(limited, runner=runner))
    now = identify_all(hrefs, limited(options.source, runner), runner, lambda *_: None, mirrors=mirrors)
    changed = _changed(lock.assets, now)
    reads = {shard.path: shard_hrefs(shard) for shard in shards_of(decided, recipe)}
    reports = build(decided, recipe, options, runner, progress)
    packages = version_differences(lock.packages, package_versions())
    built = {report.path: report for report in reports}
    different = [
        DifferentShard(
            path=shard.path,
            why=_why(shard, built.get(shard.path), _chosen(reads.get(shard.path, set()), changed), packages),
        )
        for shard in lock.shards
        if shard.path not in built or built[shard.path].sha256 != shard.sha256
    ]
    return (
        Rebuilt(
            shards=len(lock.shards),
            identical=len(lock.shards) - len(different),
            different=tuple(different),
            changed=tuple(ChangedAsset(href=href, what=what) for href, what in sorted(changed.items())),
            packages=tuple(packages),
        ),
        reports,
    )


def _hrefs_by_source(lock: Lock, shards: Sequence[Shard]) -> dict[str, list[str]]:
    """Return the lock's assets by the mirror that they are read from."""
    owners = {href: source for source, hrefs in asset_hrefs(shards).items() for href in hrefs}
    found: dict[str, list[str]] = {}
    for asset in lock.assets:
        found.setdefault(owners.get(asset.href, ""), []).append(asset.href)
    return found


def _changed(then: Sequence[AssetIdentity], now: Sequence[AssetIdentity]) -> dict[str, str]:
    found = {asset.href: asset for asset in now}
    words = {asset.href: difference(asset, found[asset.href]) for asset in then}
    return {href: what for href, what in words.items() if what}


@dataclass(frozen=True, slots=True)
class _Changes:
    """What changed upstream of one file, and of any."""

    read: tuple[str, ...]
    any: tuple[str, ...]


def _chosen(reads: set[str], changed: Mapping[str, str]) -> _Changes:
    words = {href: f"{href} ({what})" for href, what in sorted(changed.items())}
    return _Changes(tuple(text for href, text in words.items() if href in reads), tuple(words.values()))


def _why(shard: LockedShard, report: ShardReport | None, changes: _Changes, packages: Sequence[str]) -> str:
    if report is None:
        return "the plan has no such file"
    if report.state != "done":
        return f"not built: {report.error}"
    if changes.read:
        return f"reads what changed upstream: {_first(changes.read)}"
    if report.plan_digest != shard.plan_digest and changes.any:
        return f"other images were chosen because of what changed upstream: {_first(changes.any)}"
    if packages:
        return f"other versions: {', '.join(packages)}"
    return "no cause found: assets and packages are what they were; an asset may have changed under the same tag"


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
