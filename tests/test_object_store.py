"""Building into a real S3-compatible server: the bytes of a folder, whole or not at all, on from where it was."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from support.object_stores import BUCKET, copy_of, error, leftovers, receipt_of, shards_at
from support.orders import Order, shard_digests

from pipeline import targets
from pipeline.cli import main
from pipeline.compare import compare
from pipeline.mirror import open_mirror
from pipeline.stores import open_target
from pipeline.validate import validate

pytest_plugins = ["support.fixtures", "support.bucket"]

SHARD = "all/DEM/landslides_all_000001.zarr.zip"


@pytest.fixture(scope="module")
def first(server: str, small_order: Order) -> str:
    """A dataset that was built into the store; nobody changes it."""
    assert main(small_order.arguments(f"s3://{BUCKET}/first")) == 0
    return f"s3://{BUCKET}/first"


@pytest.fixture
def built(first: str, url: str) -> str:
    """A copy of it."""
    for batch in open_target(first).list():
        for found in batch:
            content = obstore.get(open_target(first), found["path"]).bytes()
            obstore.put(open_target(url), found["path"], bytes(content), use_multipart=False)
    return url


def test_a_store_holds_the_bytes_that_a_folder_would_and_nothing_is_left_here(
    url: str, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(small_order.arguments(url)) == 0
    copy = copy_of(url, tmp_path / "copy")
    assert shard_digests(copy) == shard_digests(small_dataset)
    assert validate(copy) == []
    assert compare(small_dataset, copy).is_same
    assert {file.name for file in copy.iterdir()} == {file.name for file in small_dataset.iterdir()}
    assert (copy / "preview.png").read_bytes() == (small_dataset / "preview.png").read_bytes()
    assert f"{url}: " in capsys.readouterr().out
    assert leftovers() == []
    assert not (tmp_path / "s3:").exists()


PUT = obstore.put


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Which files of pixels are put; the server's times have whole seconds only."""
    puts: list[str] = []

    def put(store, path, file, **options):  # type: ignore[no-untyped-def]
        puts.extend([path] if path.endswith(".zarr.zip") else [])
        return PUT(store, path, file, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets.obstore, "put", put)
        yield puts


class Stopping:
    """The store's put, interrupted before a file or between a file and its receipt."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, store, path, file, **options):  # type: ignore[no-untyped-def]
        if path.startswith(("all/", "receipts/")) and not path.endswith(".attempts"):
            if self.after == 0:
                raise KeyboardInterrupt
            self.after -= 1
        return PUT(store, path, file, **options)


@pytest.mark.parametrize("after", [4, 5])
def test_a_build_that_was_stopped_goes_on_and_puts_nothing_twice(
    after: int, url: str, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets.obstore, "put", Stopping(after))
        assert main(small_order.arguments(url)) == 130
    assert len(shards_at(url)) == (after + 1) // 2
    assert leftovers() == []
    capsys.readouterr()
    assert main(small_order.arguments(url)) == 2
    assert error(capsys) == f"sen12: error: {url} holds this dataset already; resume it to go on, or overwrite it"
    with recorded() as puts:
        assert main(small_order.arguments(url, "--resume")) == 0
    # Of an odd number of puts the last was a file without a receipt: it proves nothing.
    # A file whose images proved empty is put once more, with those that stand in.
    assert len(set(puts)) == 8 - after // 2
    assert [path for path, count in Counter(puts).items() if count > 1] == ["all/S1DSC/landslides_all_000001.zarr.zip"]
    assert shard_digests(copy_of(url, tmp_path / "copy")) == shard_digests(small_dataset)


def test_only_files_whose_receipt_matches_the_store_are_done(
    built: str, small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    store, (lost, exchanged, without, garbled) = open_target(built), sorted(shards_at(built))[:4]
    obstore.delete(store, lost)
    PUT(store, exchanged, b"other bytes")
    obstore.delete(store, receipt_of(without))
    PUT(store, receipt_of(garbled), b"{")
    with recorded() as puts:
        assert main(small_order.arguments(built, "--resume")) == 0
    assert sorted(puts) == [lost, exchanged, without, garbled]
    assert shard_digests(copy_of(built, tmp_path / "copy")) == shard_digests(small_dataset)


def test_another_request_and_other_things_are_refused_and_overwriting_leaves_nothing_of_before(
    built: str, small_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_order.with_overrides("modalities=[DEM,SCL]")
    assert main(other.arguments(built, "--resume")) == 2
    assert "was made from another request (modalities differ)" in error(capsys)
    obstore.put(open_target(built), "thesis.txt", b"mine")
    assert main(other.arguments(built, "--overwrite")) == 2
    assert f"{built} is not empty and holds no dataset of this program (thesis.txt)" in error(capsys)
    obstore.delete(open_target(built), "thesis.txt")
    assert main(other.arguments(built, "--overwrite")) == 0
    assert {path.split("/")[1] for path in shards_at(built)} == {"DEM", "SCL"}
    assert validate(copy_of(built, tmp_path / "copy")) == []


def test_a_plan_lies_at_the_store_and_is_built_from_there(
    url: str, small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(small_order.arguments(url, command="plan")) == 0
    assert f"plan: {url}/plan.parquet" in capsys.readouterr().out
    assert shards_at(url) == set()
    assert main(small_order.arguments(url, "--resume")) == 0
    assert f"{url}: plan found" in capsys.readouterr().out
    assert shard_digests(copy_of(url, tmp_path / "copy")) == shard_digests(small_dataset)


def test_a_store_that_stops_answering_leaves_files_unfinished_and_named(
    url: str, small_order: Order, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(store, path, file, **options):  # type: ignore[no-untyped-def]
        if path == SHARD:
            raise obstore.exceptions.GenericError("no answer")
        return PUT(store, path, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(targets.obstore, "put", fail)
        assert main(small_order.arguments(url)) == 1
    line = error(capsys)
    assert f"1 of 8 files are unfinished (first: {url} does not answer ({SHARD}): no answer" in line
    assert "a-very-secret-key" not in line
    assert main(small_order.arguments(url, "--resume")) == 0


def test_a_bucket_that_is_not_there_is_named_before_anything_is_searched(
    url: str, small_order: Order, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(small_order.arguments("s3://no-such-bucket/x")) == 2
    assert "s3://no-such-bucket/x does not exist or may not be used (listing: 404" in error(capsys)
    assert "search" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["stats", "repair", "publish"])
def test_commands_that_work_on_folders_say_so(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"stats": [], "repair": ["--out", "mended"], "publish": ["s3://bucket/other"]}[command]
    assert main([command, "s3://bucket/dataset", *more]) == 2
    assert "s3://bucket/dataset is an object store, and this command works on folders" in error(capsys)


def test_a_dataset_at_a_store_is_locked_and_rebuilt_at_another(
    built: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock", built]) == 0
    lock = tmp_path / "lock.zip"
    lock.write_bytes(bytes(obstore.get(open_target(built), "lock.zip").bytes()))
    assert main(["lock", str(small_dataset), "--out", str(tmp_path / "of_folder.zip")]) == 0
    assert (tmp_path / "of_folder.zip").read_bytes() == lock.read_bytes()
    assert main(["rebuild", str(lock), "--out", f"{built}-again"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "8 of 8 shards identical"
    assert shard_digests(copy_of(f"{built}-again", tmp_path / "copy")) == shard_digests(small_dataset)


def test_two_builds_of_one_machine_do_not_share_a_place(
    url: str, small_order: Order, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_mirror(url):
        assert main(small_order.arguments(url)) == 2
    assert f"{url} is worked on by another process of this machine" in error(capsys)


@pytest.mark.servers
def test_builds_that_are_killed_go_on_to_the_same_bytes(
    url: str, small_order: Order, small_dataset: Path, tmp_path: Path
) -> None:
    """SIGKILL after the first, third and fifth file; workers of their own, which share no folder with it."""
    script = "import sys; from pipeline.cli import main; sys.exit(main())"
    for files, more in ((1, ()), (3, ("--resume",)), (5, ("--resume", "--workers", "2"))):
        command = [sys.executable, "-c", script, *small_order.arguments(url, *more)]
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 120.0
        try:
            while len(shards_at(url)) < files and time.monotonic() < end:
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    assert main(small_order.arguments(url, "--resume", "--workers", "2")) == 0
    assert shard_digests(copy_of(url, tmp_path / "copy")) == shard_digests(small_dataset)
    assert leftovers() == []
