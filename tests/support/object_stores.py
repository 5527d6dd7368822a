"""What lies at an object store, put and fetched by the client library alone; the bucket is `support.bucket`'s."""

import os
from pathlib import Path

import obstore
import pytest

from pipeline.stores import open_target

BUCKET = "datasets"


def put_folder(root: Path, url: str) -> str:
    """Put every file of a folder at the store, by the client library alone."""
    for file in sorted(root.rglob("*")):
        if file.is_file():
            path = file.relative_to(root).as_posix()
            obstore.put(open_target(url), path, file.read_bytes(), use_multipart=False)
    return url


def copy_of(url: str, folder: Path) -> Path:
    """The store's content as a folder, by the client library alone."""
    store = open_target(url)
    for batch in store.list():
        for found in batch:
            path = folder / found["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(obstore.get(store, found["path"]).bytes()))
    return folder


def shards_at(url: str) -> set[str]:
    listed = {found["path"] for batch in open_target(url).list() for found in batch}
    return {path for path in listed if path.endswith(".zarr.zip")}


def receipt_of(shard: str) -> str:
    return f"receipts/{shard.replace('.zarr.zip', '.json')}"


def leftovers() -> list[Path]:
    return list(Path(os.environ["TMPDIR"]).rglob("sen12*"))


def error(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sen12: error")]
    return line
