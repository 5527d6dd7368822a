"""Commands on a dataset at a real S3-compatible server say and make what they do of the same dataset in a folder."""

import json
from pathlib import Path

import obstore
import pytest
from support.object_stores import copy_of, error, leftovers, put_folder, receipt_of, shards_at
from support.orders import Order, shard_digests
from support.small_datasets import make_site
from support.split_lists import write_lists

from pipeline import copies
from pipeline.cli import main
from pipeline.copies import open_copy
from pipeline.stores import open_target

pytest_plugins = ["support.fixtures", "support.bucket"]


@pytest.fixture
def stored(url: str, small_dataset: Path) -> str:
    return put_folder(small_dataset, url)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main([*arguments])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("command", ["validate", "status"])
def test_a_store_is_told_of_as_its_folder(
    command: str, stored: str, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = said(capsys, command, stored)
    here, expected = said(capsys, command, str(small_dataset))
    assert (code, here) == (0, 0)
    # When files came is known to the second only, and of an upload it is another time.
    lines, wanted = ([line for line in part.splitlines() if not line.startswith("  pace")] for part in (text, expected))
    assert lines == [line.replace(str(small_dataset), stored) for line in wanted]
    assert leftovers() == []


def test_a_store_that_is_incomplete_is_told_of(
    stored: str, small_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, (lost, exchanged, without, cut) = open_target(stored), sorted(shards_at(stored))[:4]
    obstore.delete(store, lost)
    obstore.put(store, exchanged, bytes((small_dataset / exchanged).stat().st_size))
    obstore.delete(store, receipt_of(without))
    obstore.put(store, cut, b"short")
    code, text = said(capsys, "status", stored, "--json")
    assert code == 1
    # What has the receipt's size counts here; checksums are for validate.
    assert json.loads(text)["files"] == {"done": 5, "damaged": 2, "not begun": 1}
    assert json.loads(text)["dataset"] == stored
    code, text = said(capsys, "validate", stored)
    found = text.splitlines()
    assert code == 1
    assert f"{lost}: is missing; build it with --resume" in found
    assert f"{exchanged}: is not the file that its receipt describes: checksums differ" in found
    assert f"{without}: has no receipt; build it with --resume" in found
    assert f"{cut}: is not a whole zip: File is not a zip file" in found


def test_what_is_no_dataset_is_refused_by_its_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "validate"):
        assert main([command, url]) == 1
        assert url in error(capsys)
    assert main(["diff", url, url]) == 2
    assert f"{url} holds no dataset with a plan" in error(capsys)


def test_one_file_of_pixels_at_a_time_lies_here(
    stored: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held: list[int] = []
    fetch = copies.download

    def watched(url: str, name: str, path: Path) -> None:
        fetch(url, name, path)
        if name.endswith(".zarr.zip"):
            folder = next(parent for parent in path.parents if parent.parent.name.startswith("sen12-"))
            held.append(sum(file.stat().st_blocks > 0 for file in folder.rglob("*.zarr.zip")))

    monkeypatch.setattr(copies, "download", watched)
    assert main(["validate", stored]) == 0
    assert held == [1] * 8


def test_a_file_without_room_for_it_is_named(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_copy(stored) as copy:
        shard = min(copy.folder.rglob("*.zarr.zip"))
        monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
        with pytest.raises(copies.TargetError, match="there is no room in the folder of temporary files"):
            copy.lend(shard).__enter__()


def test_stores_and_folders_are_compared(
    stored: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", stored, str(small_dataset)]) == 0
    store = open_target(stored)
    first, second = sorted(path for path in shards_at(stored) if "/S1" in path)
    obstore.put(store, first, bytes(obstore.get(store, second).bytes()))
    other = copy_of(stored, tmp_path / "copy")
    code, text = said(capsys, "diff", str(small_dataset), stored)
    assert (code, text) == said(capsys, "diff", str(small_dataset), str(other))
    assert code == 1
    assert leftovers() == []


def test_splits_audits_and_norms_lie_at_the_store(
    stored: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = ("--block", "640", "--buffer", "0", "--seed", "1", "--shares", "0.4", "0.2", "0.4")
    folder = copy_of(stored, tmp_path / "folder" / stored.rpartition("/")[2])
    assert main(["split", str(folder), *rule]) == main(["split", stored, *rule]) == 0
    assert f"lists and map: {stored}/splits/blocks" in capsys.readouterr().out
    assert said(capsys, "audit", stored) == said(capsys, "audit", str(folder))
    assert said(capsys, "norm", stored) == said(capsys, "norm", str(folder))
    after = copy_of(stored, tmp_path / "after")
    names = {file.name for file in (after / "splits" / "blocks").iterdir()}
    assert {"train.txt", "rule.json", "map.png", "norm.json"} <= names
    for file in (folder / "splits" / "blocks").iterdir():
        assert (after / "splits" / "blocks" / file.name).read_bytes() == file.read_bytes()
    assert shard_digests(after) == shard_digests(small_dataset)
    assert leftovers() == []


def test_retry_builds_at_the_store_what_was_of_no_use(
    url: str, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_folder(small_dataset, url)
    gone = sorted(shards_at(url))[0]
    obstore.delete(open_target(url), gone)
    assert main(["retry", url, "--reason", "unfinished"]) == 0
    assert shard_digests(copy_of(url, tmp_path / "copy")) == shard_digests(small_dataset)
    assert main(["retry", url, "--reason", "empty"]) == 2
    assert f"nothing that was read is missing in {url} because it is empty" in error(capsys)
    assert main(["retry", url, "--reason", "unreadable"]) == 0
    assert "were unreadable are read again" in capsys.readouterr().out
    assert main(["validate", url]) == 0
    assert leftovers() == []


def test_an_export_of_a_store_is_that_of_its_folder(url: str, tmp_path: Path) -> None:
    root = make_site(4, length=15).write(tmp_path / "site")
    write_lists(root, "blocks", {"train": ["site_100", "site_101"], "val": ["site_102"], "test": ["site_103"]})
    put_folder(root, url)
    for place, out in ((str(root), "of_folder"), (url, "of_store")):
        assert main(["export", place, "--layout", "sen12landslides", "--out", str(tmp_path / out)]) == 0
    made, expected = (
        {file.relative_to(tmp_path / out): file.read_bytes() for file in (tmp_path / out).rglob("*.nc")}
        for out in ("of_store", "of_folder")
    )
    assert made
    assert made == expected
    assert leftovers() == []
