"""What its own provider has no more is read from a mirror: the same image, the same values, and all of it told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.catalogue import EVENT, optical_file, radar_file, tiny
from support.fault_server import Script, fault_server
from support.mirrors import (
    brighten,
    change_items,
    change_pixels,
    copied,
    optical_bands,
    rename_scenes,
    reprocess,
    take_offset,
)
from support.orders import Order, shard_digests
from support.two_slides import AFTER, BEFORE, FAR, LATE, NEAR, SERIES, TILE, order_of, planned

from pipeline import open_shard
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.receipts import load_receipt
from pipeline.validate import validate

BANDS = ("B02", "B05")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Order:
    order = order_of(tmp_path_factory.mktemp("whole"))
    brighten(order.catalogue, BANDS)
    return order


@pytest.fixture(scope="module")
def undisturbed(whole: Order, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return shard_digests(whole.build(tmp_path_factory.mktemp("undisturbed") / "dataset"))


@pytest.fixture(scope="module")
def free_of_offset(whole: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror that has taken the offset off, and calls its scenes otherwise."""
    mirror = copied(whole.catalogue, tmp_path_factory.mktemp("mirror") / "stac")
    take_offset(mirror, BANDS)
    rename_scenes(mirror)
    return mirror


@pytest.fixture
def order(whole: Order, tmp_path: Path) -> Order:
    """The same order on a catalogue of its own, to break."""
    return replace(whole, catalogue=copied(whole.catalogue, tmp_path / "stac"))


@pytest.fixture
def mirror(whole: Order, tmp_path: Path) -> Path:
    """A mirror to break, in all like the source."""
    return copied(whole.catalogue, tmp_path / "mirror")


def lose(catalogue: Path, overpass: Any = AFTER, band: str = "B05") -> None:
    optical_file(catalogue, TILE, overpass, band).unlink()


def days(root: Path, modality: str = "S2L2A") -> set[tuple[int, ...]]:
    held: dict[str, list[int]] = {}
    for row in read_decided(root).rows:
        if row.modality == modality and row.choice:
            held.setdefault(row.sample_id, []).append((row.choice.acquired - EVENT).days)
    return {tuple(found) for found in held.values()}


def test_a_mirror_with_another_offset_convention_gives_the_same_bytes(
    order: Order, undisturbed: dict[str, str], free_of_offset: Path, tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    order.build(out, "--resume", "--mirror", str(free_of_offset))
    assert shard_digests(out) == undisturbed
    assert validate(out) == []
    offsets = {
        (row.choice.source != "", asset.offset)
        for row in read_decided(out).rows
        if (row.modality, row.timestep) == ("S2L2A", 1) and row.choice
        for asset in row.choice.assets
    }
    assert offsets == {(True, 0)}
    # The lock knows whom to ask for what, and the dataset is built again from it alone.
    assert main(["lock", str(out)]) == 0
    assert main(["rebuild", str(out / "lock.zip"), "--out", str(tmp_path / "again")]) == 0
    assert shard_digests(tmp_path / "again") == undisturbed


def test_a_scene_whose_classification_is_gone_is_judged_and_read_at_the_mirror(
    order: Order, undisturbed: dict[str, str], free_of_offset: Path, tmp_path: Path
) -> None:
    lose(order.catalogue, AFTER, "SCL")
    out = order.build(tmp_path / "dataset", "--mirror", str(free_of_offset))
    assert shard_digests(out) == undisturbed
    assert validate(out) == []
