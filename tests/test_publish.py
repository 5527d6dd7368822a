"""Publishing: to a folder and to a real S3-compatible server, whole or not at all, and on from where it stopped."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.s3_server import ask, s3_server

from pipeline import publish as module
from pipeline import stores
from pipeline.cli import main
from pipeline.cluster import LocalRunner
from pipeline.errors import LayoutError, RecipeError, TransientSourceError
from pipeline.folder import MEMBERS
from pipeline.publish import MANIFEST, open_target, publish, require_whole

BUCKET = "datasets"


@pytest.fixture
def dataset(demo, tmp_path) -> Path:
    """A copy of the demo's dataset, with a file beside it that is not the dataset's."""
    copy = tmp_path / "dataset"
    shutil.copytree(demo, copy)
    (copy / "notes.txt").write_text("mine")
    return copy


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        ask("PUT", f"{url}/{BUCKET}")
        yield url


@pytest.fixture
def credentials(server, monkeypatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(stores, "RETRY_SECONDS", 1)
    open_target.cache_clear()
    return server


@pytest.fixture(params=["folder", "s3"])
def target(request, tmp_path) -> str:
    if request.param == "folder":
        return str(tmp_path / "home" / "v1")
    request.getfixturevalue("credentials")
    return f"s3://{BUCKET}/{request.node.name}/v1"


def published_files(target: str) -> dict[str, bytes]:
    store = open_target(target)
    paths = [found["path"] for batch in store.list() for found in batch]
    return {path: bytes(obstore.get(store, path).bytes()) for path in paths}


def files_of(root: Path) -> dict[str, bytes]:
    files = [file for file in root.rglob("*") if file.is_file()]
    names = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    return {name: content for name, content in names.items() if name.split("/")[0] in MEMBERS}


def ignore(done: int, total: int) -> None:
    pass


def go(dataset: Path, target: str, progress=ignore) -> module.Publication:
    return publish(dataset, target, LocalRunner(), progress)


def test_every_file_of_the_dataset_arrives_and_nothing_else(dataset, target):
    shown = []
    publication = go(dataset, target, lambda *now: shown.append(now))
    there = published_files(target)
    manifest = there.pop(MANIFEST).decode()
    assert there == files_of(dataset)
    assert manifest == "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(there.items())
    )
    assert (publication.files, publication.copied) == (len(there), len(there))
    assert publication.bytes == sum(map(len, there.values()))
    assert shown == [(number, len(there)) for number in range(len(there) + 1)]


def test_a_published_folder_passes_sha256sum(dataset, tmp_path):
    home = tmp_path / "home"
    go(dataset, str(home))
    checked = subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=home, check=False, capture_output=True)
    assert (checked.returncode, checked.stdout) == (0, b"")


def test_a_copy_that_was_stopped_shows_no_manifest_and_goes_on(dataset, target):
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(dataset, target, stop)
    there = published_files(target)
    assert MANIFEST not in there
    assert len(there) >= 5
    damaged = min(there)
    obstore.put(open_target(target), damaged, there[damaged][:-1] + b"?")
    publication = go(dataset, target)
    assert publication.copied == publication.files - len(there) + 1
    assert published_files(target).keys() == {*files_of(dataset), MANIFEST}
    assert published_files(target)[damaged] == there[damaged]


def test_publishing_again_copies_nothing_and_checks_everything(dataset, target):
    first = go(dataset, target)
    again = go(dataset, target)
    assert (again.copied, again.files) == (0, first.files)
    assert f"({first.files} were there already)" in str(again)


def test_a_published_dataset_is_never_changed(dataset, target):
    go(dataset, target)
    before = published_files(target)
    (dataset / "README.md").write_text("another card")
    with pytest.raises(RecipeError, match="holds another published dataset, which is never changed"):
        go(dataset, target)
    assert published_files(target) == before


def test_a_target_that_holds_something_else_is_left_alone(dataset, target):
    obstore.put(open_target(target), "thesis.docx", b"years of work")
    with pytest.raises(RecipeError, match=r"holds something else \(thesis\.docx\); name a target of its own"):
        go(dataset, target)
    assert published_files(target) == {"thesis.docx": b"years of work"}


def test_a_file_that_changes_on_the_way_is_noticed(dataset, target, monkeypatch):
    put = obstore.put

    def flip(store, path, file, **options):
        if not isinstance(file, Path) or not path.endswith("plan.parquet"):
            return put(store, path, file, **options)
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        return put(store, path, bytes(content), **options)

    monkeypatch.setattr(module.obstore, "put", flip)
    with pytest.raises(LayoutError, match=r"plan\.parquet is not what was copied; publish again"):
        go(dataset, target)
    assert MANIFEST not in published_files(target)


@given(held=st.sets(st.integers(0, 6)), torn=st.sets(st.integers(0, 6)))
@settings(max_examples=20)
def test_whatever_is_there_already_the_end_is_the_same(tmp_path_factory, held, torn):
    root = tmp_path_factory.mktemp("any")
    dataset, home = root / "dataset", root / "home"
    contents = {f"all/DEM/{number}.zarr.zip": bytes([number]) * 50 for number in range(7)}
    for name, content in contents.items():
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_bytes(content)
        if int(name[8]) in held:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(content[:-1] + b"?" if int(name[8]) in torn else content)
    publication = go(dataset, str(home))
    assert publication.copied == 7 - len(held - torn)
    assert {name: (home / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("where", ["inside", "around", "same"])
def test_target_and_dataset_do_not_lie_in_each_other(dataset, where):
    target = {"inside": dataset / "copy", "around": dataset.parent, "same": dataset}[where]
    with pytest.raises(RecipeError, match="lie in each other"):
        go(dataset, str(target))


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("ftp://host/folder", "target is a folder or a URL of s3, gs, az, abfs, abfss, file, not ftp://"),
        ("s3://[bucket/x", "target begins like a URL, but is none"),
        ("s3://key:secret@bucket/x", "target carries credentials or a query: give them in the environment"),
        ("s3://bucket/x?signature=1", "target carries credentials or a query: give them in the environment"),
    ],
)
def test_a_target_of_no_known_kind_or_with_credentials_is_refused(dataset, target, line):
    with pytest.raises(RecipeError, match=f"^{line}") as refused:
        go(dataset, target)
    assert "secret" not in str(refused.value)
    assert "signature" not in str(refused.value)


def test_a_bucket_that_is_not_there_gives_one_line(dataset, credentials):
    with pytest.raises(
        RecipeError, match=r"^s3://nowhere/x does not exist .*404 Not Found.*; make the bucket first"
    ) as refused:
        go(dataset, "s3://nowhere/x")
    assert "\n" not in str(refused.value)


def test_a_store_that_does_not_answer_is_transient_and_named_without_its_secrets(dataset, credentials, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    open_target.cache_clear()
    with pytest.raises(TransientSourceError, match=r"^s3://datasets/x does not answer .*; publish again$") as refused:
        go(dataset, "s3://datasets/x")
    assert "\n" not in str(refused.value)
    assert "a-very-secret-key" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_gives_one_line(dataset, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises((RecipeError, TransientSourceError)) as refused:
        go(dataset, str(closed / "x"))
    assert "\n" not in str(refused.value)


def test_a_file_stands_where_the_target_should_be(dataset, tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RecipeError, match="taken is a file; name a folder"):
        go(dataset, str(tmp_path / "taken"))


def test_only_a_whole_dataset_is_published(dataset):
    assert require_whole(dataset) == "landslides"
    shard = min(dataset.glob("all/DEM/*.zarr.zip"))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(LayoutError, match=r"is not published: [1-9]\d* findings \(first: all/DEM/"):
        require_whole(dataset)


def test_the_command_publishes_and_says_so(dataset, tmp_path, capsys):
    home = tmp_path / "home"
    assert main(["publish", str(dataset), str(home)]) == 0
    assert "every checksum matches" in capsys.readouterr().out
    assert (home / MANIFEST).is_file()


def test_the_command_refuses_a_broken_dataset_before_it_copies(dataset, tmp_path, capsys):
    (dataset / "statistics.json").unlink()
    (dataset / "ledger.parquet").unlink()
    assert main(["publish", str(dataset), str(tmp_path / "home")]) == 1
    assert "is not published" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
