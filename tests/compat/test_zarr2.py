"""Shards of every modality, opened by plain path under zarr 2.18 with the xarray of that time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compat.old_readers import HERE, RegistryUnreachableError, old_python, run
from compat.read_with_zarr2 import describe
from support.chunk_files import FILES, SIZE, content, name_of, tree_bytes, write_folder

from pipeline import open_shard
from pipeline.assemble import CLOUD_MASK_MODALITIES, band_attributes
from pipeline.layouts.ssl4eo import NO_TIME, ShardContent, Store, write_shard
from pipeline.published import check_folder, folder_statistics, repair_folder
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES

pytestmark = pytest.mark.compat

SAMPLES = FILES["000001"]


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return old_python()
    except RegistryUnreachableError as err:
        pytest.skip(f"the package registry is unreachable: {err}")


def shard_content(name: str, store: Store) -> ShardContent:
    """A file of any modality, with a missing image where its dtype has a value for that."""
    modality = MODALITIES[name]
    rng = np.random.default_rng(len(name))
    like = content("S1GRD" if modality.product == "S1" else "S2L2A", SAMPLES, store)
    steps = 4 if modality.is_series else 1
    shape = (len(SAMPLES), steps, len(modality.bands), SIZE, SIZE)
    values = (rng.normal(0, 100, shape) if modality.dtype.startswith("float") else rng.integers(0, 255, shape)).astype(
        modality.dtype
    )
    file_ids, times = like.file_ids[:, :steps].copy(), like.times[:, :steps].copy()
    if modality.nodata is not None:
        values[1, 0] = modality.nodata
        file_ids[1, 0], times[1, 0] = "", NO_TIME
    return ShardContent(
        bands=values,
        band_names=modality.band_names,
        sample_ids=like.sample_ids,
        file_ids=file_ids,
        times=times,
        epsg=like.epsg,
        lon=like.lon,
        lat=like.lat,
        eastings=like.eastings,
        northings=like.northings,
        cloud_mask=np.zeros((*shape[:2], *shape[3:]), np.uint8) if name in CLOUD_MASK_MODALITIES else None,
        band_attributes=band_attributes(modality, load_recipe("ssl4eo-s12")),
        attributes={"layout": "ssl4eo-s12-v1.1", "modality": name},
        store=store,
    )


@pytest.fixture(scope="module")
def read(python, tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    """What zarr 2.18 reads from a shard of each modality and store, with the shard's path."""
    paths = {}
    for store in ("chunked", "published"):
        for name in MODALITIES:
            paths[f"{name} {store}"] = path = tmp_path_factory.mktemp("shards") / f"{name}.zarr.zip"
            write_shard(path, shard_content(name, store))
    printed = run([str(python), str(HERE / "read_with_zarr2.py"), *map(str, paths.values())])
    found = json.loads(printed)
    return {name: (path, found[str(path)]) for name, path in paths.items()}


@pytest.mark.parametrize("store", ["chunked", "published"])
@pytest.mark.parametrize("name", MODALITIES)
def test_zarr2_reads_the_arrays_dtypes_and_names_that_we_read(read, name, store):
    path, found = read[f"{name} {store}"]
    with open_shard(path) as shard:
        ours = describe(shard)
        attributes = dict(shard.attrs)
    assert found["plain"] == ours
    assert found["masked"] == ours
    assert found["attributes"] == attributes
    assert ours["bands"]["dtype"] == np.dtype(MODALITIES[name].dtype).str


@pytest.mark.parametrize("store", ["chunked", "published"])
def test_an_all_zero_cloud_mask_is_read_as_zeros(read, store):
    _, found = read[f"S2L2A {store}"]
    zeros = describe(_mask(np.zeros((len(SAMPLES), 4, SIZE, SIZE), np.uint8)))["cloud_mask"]["sha256"]
    assert {found[how]["cloud_mask"]["sha256"] for how in ("plain", "masked")} == {zeros}
    assert found["masked"]["cloud_mask"]["dtype"] == "|u1"


def _mask(values: np.ndarray) -> Any:
    import xarray as xr  # noqa: PLC0415

    return xr.Dataset({"cloud_mask": (("sample", "time", "y", "x"), values)})


@pytest.fixture(scope="module")
def written(python, tmp_path_factory) -> Path:
    """A folder that zarr 2.18 and the xarray of that time wrote, with the published fault in one file."""
    return rewritten(python, tmp_path_factory.mktemp("old"), faulty=["000002"])


def rewritten(python: Path, folder: Path, faulty: Sequence[str]) -> Path:
    write_folder(folder / "ours", faulty=faulty)
    run([str(python), str(HERE / "write_with_zarr2.py"), str(folder / "ours"), str(folder / "theirs")])
    (folder / "ours" / "splits").rename(folder / "theirs" / "splits")
    return folder / "theirs"


def test_our_tools_read_what_zarr2_wrote(written):
    radar = f"train/S1GRD/{name_of('000002')}"
    assert [finding.where for finding in check_folder(written)] == [radar]


def test_what_zarr2_wrote_is_repaired(written, tmp_path):
    before = tree_bytes(written)
    repair_folder(written, tmp_path / "out")
    assert check_folder(tmp_path / "out") == []
    changed = {name for name, held in tree_bytes(tmp_path / "out").items() if held != before[name]}
    assert changed == {f"train/S1GRD/{name_of('000002')}"}
    right = write_folder(tmp_path / "right")
    assert folder_statistics(tmp_path / "out") == folder_statistics(right)


def test_zarr2_reads_what_was_repaired(python, written, tmp_path):
    repair_folder(written, tmp_path / "out")
    path = tmp_path / "out" / "train" / "S1GRD" / name_of("000002")
    found = json.loads(run([str(python), str(HERE / "read_with_zarr2.py"), str(path)]))[str(path)]
    with open_shard(path) as shard:
        assert found["plain"] == describe(shard)
