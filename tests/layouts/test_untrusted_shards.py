"""Shards of others: nothing in them runs, and none expands to more than it says."""

import json
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.chunk_files import content, edited

from pipeline.errors import LayoutError
from pipeline.layouts import containers
from pipeline.layouts.ssl4eo import open_shard, write_shard
from pipeline.published.arrays import opened


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard.zarr.zip"
    write_shard(path, content("S2L2A", ("0080717", "0060573")))
    return path


def describe(path: Path, array: str, **changes: object) -> None:
    """Change what an array says of itself, in both places."""
    with edited(path) as entries:
        described = json.loads(entries[f"{array}/.zarray"]) | changes
        consolidated = json.loads(entries[".zmetadata"])
        consolidated["metadata"][f"{array}/.zarray"] = described
        entries[f"{array}/.zarray"] = json.dumps(described).encode()
        entries[".zmetadata"] = json.dumps(consolidated).encode()


PICKLE = {"id": "pickle", "protocol": 5}


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "shard.zarr.zip"
    beyond = np.full((2, 7), 0x7FFFFFFF, "<u4").view("<U7")[:, 0]
    write_shard(path, content("S2L2A", ("0080717", "0060573")))
    describe(path, "sample", compressor=None)
    with edited(path) as entries:
        entries["sample/0"] = beyond.tobytes()
    with pytest.raises(LayoutError, match=r"shard\.zarr\.zip is damaged: sample holds what is no text$"), opened(path):
        pass


@pytest.mark.parametrize(
    "changes",
    [
        {"compressor": PICKLE},
        {"filters": [PICKLE]},
        {"filters": [PICKLE], "compressor": None, "dtype": "|O", "fill_value": None},
        {"filters": [{"id": "json2"}], "dtype": "|O", "fill_value": None},
        {"compressor": {"id": "zlib", "level": 1}},
    ],
)
def test_no_codec_but_the_layouts_is_used(shard: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    canary = tmp_path / "canary"
    describe(shard, "center_lat", **changes)
    with edited(shard) as entries:
        entries["center_lat/0"] = pickle.dumps(Canary(canary))
    with pytest.raises(LayoutError, match=r"center_lat is encoded by \w+; only Blosc is read$"):
        open_shard(shard)
    assert not canary.exists()


def test_what_consolidated_metadata_alone_says_counts_too(shard: Path) -> None:
    with edited(shard) as entries:
        consolidated = json.loads(entries[".zmetadata"])
        consolidated["metadata"]["center_lat/.zarray"]["compressor"] = PICKLE
        entries[".zmetadata"] = json.dumps(consolidated).encode()
    with pytest.raises(LayoutError, match="encoded by pickle"):
        open_shard(shard)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"shape": [10**6, 10**6], "chunks": [1, 1]}, "its arrays would take"),
        ({"shape": [1 << 31, 1], "chunks": [1 << 31, 1]}, "a chunk of x_ would take"),
        ({"shape": [-1, 6]}, "describes no array"),
        ({"shape": "many"}, "describes no array"),
        ({"dtype": "no such"}, "describes no array"),
        ({"shape": [10**400, 1]}, "its arrays would take"),
    ],
)
def test_an_array_beyond_any_use_is_refused_before_it_is_read(
    shard: Path, changes: dict[str, object], problem: str
) -> None:
    describe(shard, "x_", **changes)
    with pytest.raises(LayoutError, match=problem):
        open_shard(shard)


def test_a_chunk_that_expands_beyond_its_array_is_refused(shard: Path) -> None:
    with edited(shard) as entries:
        chunk = entries["bands/0.1.0.0.0"]
        entries["bands/0.1.0.0.0"] = chunk[:4] + (2**31 - 1).to_bytes(4, "little") + chunk[8:]
    with pytest.raises(LayoutError, match="states 2147483647 bytes, expected at most 864"), opened(shard) as dataset:
        dataset["bands"].load()


def test_a_bomb_of_deflated_zeros_is_refused(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "ALWAYS_FITS", 1 << 20)
    monkeypatch.setattr(containers, "LARGEST_EXPANSION", 100)
    with edited(shard) as entries:
        held = dict(entries)
    with zipfile.ZipFile(shard, "w") as archive:
        for name, value in held.items():
            archive.writestr(name, value)
        archive.writestr("zeros", bytes(64 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(LayoutError, match="its entries would take"):
        open_shard(shard)


def test_a_store_of_format_3_is_refused(shard: Path) -> None:
    with edited(shard) as entries:
        entries["zarr.json"] = b'{"zarr_format": 3, "node_type": "group"}'
    with pytest.raises(LayoutError, match="is a Zarr v3 store"):
        open_shard(shard)


def test_names_that_lead_out_of_the_folder_reach_nothing(shard: Path, tmp_path: Path) -> None:
    with edited(shard) as entries:
        entries["../../evil"] = zlib.compress(b"x")
        entries["/evil"] = b"x"
    before = sorted(tmp_path.rglob("*"))
    with open_shard(shard) as dataset:
        assert np.isfinite(dataset["center_lat"].values).all()
    assert sorted(tmp_path.rglob("*")) == before
