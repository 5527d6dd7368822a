"""Room for the files is looked for before the first one is built."""

import logging
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.orders import Order

from pipeline import targets
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.errors import TargetError
from pipeline.folder import read_recipe
from pipeline.layouts.ssl4eo import open_shard
from pipeline.targets import patch_bytes, require_room

pytest_plugins = ["support.fixtures"]

Usage = namedtuple("Usage", "free")


def free(patch: pytest.MonkeyPatch, count: float) -> None:
    patch.setattr(targets, "disk_usage", lambda _: Usage(count))


def test_the_size_of_a_patch_is_that_of_its_arrays(small_dataset: Path) -> None:
    recipe = read_recipe(small_dataset)
    for path in small_dataset.glob("all/*/*.zarr.zip"):
        modality = path.parent.name
        with open_shard(path) as shard:
            held = shard["bands"].nbytes // shard.sizes["sample"]
            pixels = shard.sizes["time"] * shard.sizes["y"] * shard.sizes["x"]
        assert patch_bytes(recipe, modality) == held + pixels


def test_what_cannot_fit_is_refused_before_a_pixel_is_read_and_goes_on_with_room(
    small_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    with monkeypatch.context() as patch:
        free(patch, 5000)
        assert main(small_order.arguments(out)) == 1
    assert f"{out} has 0.00 GB free, and the files to come may take up to 0.00 GB, which cannot fit" in (
        capsys.readouterr().err
    )
    assert (out / "plan.parquet").is_file()
    assert list(out.rglob("*.zarr.zip")) == []
    assert main(small_order.arguments(out, "--resume")) == 0


def test_what_may_not_fit_is_warned_of(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = read_recipe(small_dataset)
    shards = [*read_decided(small_dataset).shards(recipe)]
    whole = sum(patch_bytes(recipe, shard.modality) * len(shard.samples) for shard in shards)
    caplog.set_level(logging.WARNING)
    free(monkeypatch, whole)
    require_room(tmp_path, "", shards, recipe)
    assert caplog.text == ""
    free(monkeypatch, whole - 1)
    require_room(tmp_path, "", shards, recipe)
    assert "the files to come may take up to" in caplog.text
    assert "before they are compressed" in caplog.text
    # What is there takes no more room.
    free(monkeypatch, 0)
    require_room(small_dataset, "", shards, recipe)


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.0, 0.06))
def test_before_a_store_one_file_has_to_fit(share: float, small_dataset: Path) -> None:
    recipe = read_recipe(small_dataset)
    shards = [*read_decided(small_dataset).shards(recipe)]
    largest = max(patch_bytes(recipe, shard.modality) * len(shard.samples) for shard in shards)
    with pytest.MonkeyPatch.context() as patch:
        free(patch, share * largest)
        if share < targets.LEAST_SHARE:
            with pytest.raises(TargetError, match="a file on its way to the store may take up to"):
                require_room(small_dataset, "s3://bucket/x", shards, recipe)
        else:
            require_room(small_dataset, "s3://bucket/x", shards, recipe)
