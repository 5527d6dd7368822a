"""Two datasets compared in words: what was asked, decided, measured and written down."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.built import write_samples, write_shards
from support.orders import Order

from pipeline.catalog import read_decided, write_decided
from pipeline.cli import main
from pipeline.compare import compare
from pipeline.compare.pixels import Compared, compare_pixels
from pipeline.compare.plans import compare_plans
from pipeline.compare.tables import compare_tables

pytest_plugins = ["support.fixtures"]

PLACES = {"a": (500_000.0, 4_000_000.0), "b": (510_000.0, 4_000_000.0), "c": (520_000.0, 4_000_000.0)}


def test_a_copy_is_the_same(small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    assert main(["diff", str(small_dataset), str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "recipe: the same"
    assert lines[-1] == "metadata: the same"
    assert all(" differ" not in line for line in lines)
    assert main(["diff", str(small_dataset), str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] is True


def test_another_recipe_shows_in_every_part_that_it_changes(
    small_order: Order, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_order.with_overrides("series_length=2", "max_cloud=0.3").build(tmp_path / "other")
    capsys.readouterr()
    assert main(["diff", str(small_dataset), str(other)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "recipe: max_cloud: 0.25 / 0.3" in lines
    assert "recipe: series_length: 3 / 2" in lines
    assert any(line.startswith("plan: S2L2A: image in A only ") for line in lines)
    (pixels,) = [line for line in lines if line.startswith("pixels: S2L2A: ")]
    assert "series of 3 and 2 images, compared as far as both go" in pixels
    assert any(line.startswith("metadata: ledger.parquet: ") and "rows only in A" in line for line in lines)


@pytest.mark.parametrize("which", ["absent", "no dataset"])
def test_what_cannot_be_compared_is_an_error_not_a_difference(
    which: str, small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    if which == "no dataset":
        other.mkdir()
    assert main(["diff", str(small_dataset), str(other)]) == 2
    assert capsys.readouterr().err.startswith(f"sen12: error: {other} holds no dataset with a plan")


def images(change: Callable[[np.ndarray], None] | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    values = {name: rng.integers(1, 9_000, (2, 12, 8, 8)).astype(np.int16) for name in PLACES}
    if change is not None:
        change(values["b"])
    return values


def datasets(tmp_path: Path, change: Callable[[np.ndarray], None] | None, files: tuple[tuple[str, ...], ...]):
    made = []
    for name, values, packed in (("A", images(), (("a", "b", "c"),)), ("B", images(change), files)):
        root = write_samples(tmp_path / name, PLACES)
        write_shards(root, "S2L2A", values, packed)
        decided = read_decided(root)
        places = {
            sample: replace(decided.places[sample], shard=f"file_{number}", position=position)
            for number, held in enumerate(packed)
            for position, sample in enumerate(held)
        }
        made.append((root, replace(decided, places=places)))
    return made


def raise_some(values: np.ndarray) -> None:
    values[1, 3, :2, :4] += 250


def empty_some(values: np.ndarray) -> None:
    values[0, 0, 0, :3] = -32768


@pytest.mark.parametrize(
    ("change", "largest", "share"), [(raise_some, 250.0, 8 / (12 * 64)), (empty_some, 0.0, 3 / (12 * 64))]
)
@pytest.mark.parametrize("files", [(("a", "b", "c"),), (("c", "a"), ("b",))])
def test_pixels_are_compared_place_by_place_wherever_they_lie(
    change: Callable[[np.ndarray], None], largest: float, share: float, files: tuple[tuple[str, ...], ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    found = compare_pixels(*(Compared(*one) for one in datasets(tmp_path, change, files)))["S2L2A"]
    assert (found.patches, found.differing_patches) == (6, 1)
    assert found.max_difference == largest
    assert found.differing_share == pytest.approx(share)
    assert not found.is_same


def test_the_same_pixels_in_other_files_are_said_to_be_the_same_values(tmp_path: Path) -> None:
    found = compare_pixels(*(Compared(*one) for one in datasets(tmp_path, None, (("c", "a"), ("b",)))))["S2L2A"]
    assert (found.patches, found.differing_patches, found.only_in_b) == (6, 0, 1)
    assert "all 6 images that both have are the same" in str(found)
    assert not found.is_same


def test_plans_differ_by_place_grid_slot_and_image(tmp_path: Path) -> None:
    a = read_decided(write_samples(tmp_path / "a", PLACES, passes={"a": ["x", "y"], "b": ["x"]}))
    moved = {**PLACES, "b": (510_010.0, 4_000_000.0), "d": (530_000.0, 4_000_000.0)}
    del moved["c"]
    b = read_decided(write_samples(tmp_path / "b", moved, passes={"a": ["x", "z"], "b": ["x"]}))
    found = compare_plans(a, b)
    assert found.samples["only in A"].examples == ("c",)
    assert found.samples["only in B"].examples == ("d",)
    assert found.samples["other grid"].examples == ("b",)
    assert {what: part.examples for what, part in found.choices["S2L2A"].items()} == {"other image": ("a 1",)}
    assert compare_plans(a, a).is_same


def test_tables_are_compared_row_by_row_whatever_their_order(small_dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    path = copy / "ledger.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(len(table)))[::-1]), path)
    assert compare_tables(small_dataset, copy) == ()
    states = table["state"].to_pylist()
    states[0] = "lost"
    pq.write_table(
        table.set_column(table.column_names.index("state"), "state", [states]).slice(0, len(table) - 2), path
    )
    (found,) = compare_tables(small_dataset, copy)
    assert (found.name, found.only_in_a, found.only_in_b, found.differing, found.columns) == (
        "ledger.parquet", 2, 0, 1, ("state",),
    )  # fmt: skip
    path.unlink()
    assert [str(part) for part in compare_tables(small_dataset, copy)] == ["ledger.parquet: only A has it"]


def test_plans_that_are_not_built_are_compared_without_pixels(small_dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "planned"
    root.mkdir()
    for name in ("recipe.yaml", "provenance.json"):
        shutil.copyfile(small_dataset / name, root / name)
    write_decided(root, read_decided(small_dataset))
    found = compare(root, small_dataset)
    assert found.plan.is_same
    assert all(part.only_in_b and not part.files for part in found.pixels.values())
    assert not found.is_same
