"""A lock and what is built from it: the same bytes, or what changed upstream and which files that reached."""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from support.orders import Order, shard_digests

from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.errors import LayoutError
from pipeline.locks import packages, read_lock, rebuilding
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]


@pytest.fixture
def locked(small_dataset: Path, tmp_path: Path) -> Path:
    assert main(["lock", str(small_dataset), "--out", str(tmp_path / "lock.zip")]) == 0
    return tmp_path / "lock.zip"


def rebuilt(lock: Path, out: Path, *more: str) -> int:
    return main(["rebuild", str(lock), "--out", str(out), *more])


def read_hrefs(root: Path, modality: str = "S2L2A") -> list[str]:
    rows = [row for row in read_decided(root).rows if row.choice and row.modality == modality]
    return sorted({href for row in rows if row.choice for asset in row.choice.assets for href in asset.hrefs})


def test_a_lock_names_every_file_that_a_build_reads_and_every_shard(locked: Path, small_dataset: Path) -> None:
    lock = read_lock(locked)
    assert {shard.path: shard.sha256 for shard in lock.shards} == shard_digests(small_dataset)
    named = {asset.href: asset for asset in lock.assets}
    for modality in ("S2L2A", "SCL", "S1ASC", "DEM"):
        assert set(read_hrefs(small_dataset, modality)) <= named.keys()
    for href, asset in named.items():
        content = Path(href).read_bytes()
        assert (asset.size, asset.checksum) == (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert lock.seed == 42
    assert lock.grid == {"resolution": 10.0, "patch_size": 32, "anchor": [0.0, 0.0], "crs": ["EPSG:32633"]}
    assert lock.packages["gdal"] == rasterio.__gdal_version__


def test_equal_datasets_have_equal_locks(locked: Path, small_dataset: Path, tmp_path: Path) -> None:
    assert main(["lock", str(small_dataset), "--out", str(tmp_path / "again.zip")]) == 0
    assert (tmp_path / "again.zip").read_bytes() == locked.read_bytes()


def test_a_rebuild_needs_the_lock_and_the_assets_only_and_gives_the_same_bytes(
    locked: Path, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = small_order.places.rename(tmp_path / "hidden.geojson")
    try:
        assert rebuilt(locked, tmp_path / "new") == 0
    finally:
        hidden.rename(small_order.places)
    shards = len(shard_digests(small_dataset))
    assert capsys.readouterr().out.splitlines()[-1] == f"{shards} of {shards} shards identical"
    assert shard_digests(tmp_path / "new") == shard_digests(small_dataset)
    assert validate(tmp_path / "new") == []
    assert main(["diff", str(small_dataset), str(tmp_path / "new")]) == 0


def test_a_rebuild_that_was_stopped_goes_on_and_another_lock_or_folder_does_not_mix(
    locked: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert rebuilt(locked, out) == 0
    shutil.rmtree(out / "all" / "S2L2A")
    assert rebuilt(locked, out) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert rebuilt(locked, out, "--resume") == 0
    assert shard_digests(out) == shard_digests(small_dataset)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert rebuilt(locked, tmp_path / "mine", "--resume") == 2
    assert "was not started from" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def rewrite(path: Path) -> str:
    """Other pixels under the same name."""
    with rasterio.open(path) as raster:
        profile, values = raster.profile, raster.read()
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(values + 7)
    return r"\d+ bytes, was \d+|checksum sha256:\w+, was sha256:\w+"


def lose(path: Path) -> str:
    path.unlink()
    return "gone"


@pytest.mark.parametrize("change", [rewrite, lose])
def test_what_changed_upstream_is_named_with_the_files_that_it_reached(
    change: Callable[[Path], str], locked: Path, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = small_dataset
    href = next(href for href in read_hrefs(dataset) if href.endswith("B05.tif"))
    kept = shutil.copyfile(href, tmp_path / "kept.tif")
    capsys.readouterr()
    try:
        what = change(Path(href))
        assert rebuilt(locked, tmp_path / "new") == 1
    finally:
        shutil.copyfile(kept, href)
    before, after = shard_digests(dataset), shard_digests(tmp_path / "new")
    reached = {path for path in before if before[path] != after[path]}
    assert reached
    assert all("/S2L2A/" in path for path in reached)
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert verdict == f"{len(before) - len(reached)} of {len(before)} shards identical"
    upstream = [line for line in lines if line.startswith("changed upstream: ")]
    assert len(upstream) == 1
    assert upstream[0].startswith(f"changed upstream: {href}: ")
    assert {line.split(": ")[1] for line in lines if line.startswith("differs: ")} == reached
    assert all(href in line for line in lines if line.startswith("differs: "))
    assert re.search(what, upstream[0])


def test_other_versions_are_named_and_are_no_fault_while_the_bytes_are_the_same(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = {**packages.package_versions(), "gdal": "99.0"}
    monkeypatch.setattr(rebuilding, "package_versions", lambda: now)
    assert rebuilt(locked, tmp_path / "new") == 0
    assert f"other version: gdal 99.0, was {rasterio.__gdal_version__}" in capsys.readouterr().out


def test_an_unfinished_dataset_is_not_locked(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    shard = min((copy / "all" / "DEM").glob("*.zarr.zip"))
    shard.write_bytes(shard.read_bytes()[:-1])
    assert main(["lock", str(copy)]) == 1
    assert f"{shard.relative_to(copy)} is not built, or not as its receipt says" in capsys.readouterr().err
    assert not (copy / "lock.zip").exists()


def truncated(lock: Path) -> None:
    lock.write_bytes(lock.read_bytes()[:-100])


def without_plan(lock: Path) -> None:
    rewritten(lock, lambda entries: entries.pop("plan.parquet"))


def of_another_format(lock: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        entries["lock.json"] = json.dumps({**json.loads(entries["lock.json"]), "format": 2}).encode()

    rewritten(lock, change)


def garbled(lock: Path) -> None:
    rewritten(lock, lambda entries: entries.update({"lock.json": b"{"}))


def not_a_table(lock: Path) -> None:
    rewritten(lock, lambda entries: entries.update({"assets.parquet": b"PAR1"}))


def squeezed(lock: Path) -> None:
    rewritten(lock, lambda entries: entries.update({"plan.parquet": bytes(1_000_000)}), zipfile.ZIP_DEFLATED)


def rewritten(lock: Path, change: Callable[[dict[str, bytes]], object], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(lock) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(lock, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("damage", [truncated, without_plan, of_another_format, garbled, not_a_table, squeezed])
def test_a_damaged_lock_ends_in_one_line_and_starts_nothing(
    damage: Callable[[Path], None], locked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(locked)
    assert rebuilt(locked, tmp_path / "new") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sen12: error: ")
    assert str(locked) in line
    assert not (tmp_path / "new" / "plan.parquet").exists()


def test_a_lock_cannot_write_outside_its_folder(locked: Path, tmp_path: Path) -> None:
    rewritten(locked, lambda entries: entries.update({"../evil.txt": b"evil", "/evil.txt": b"evil"}))
    assert rebuilt(locked, tmp_path / "a" / "new") == 0
    assert list(tmp_path.rglob("evil.txt")) == []


def test_what_is_no_lock_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"lock .* does not exist"):
        read_lock(tmp_path / "none.zip")
