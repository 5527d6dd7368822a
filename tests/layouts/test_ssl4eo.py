"""The canonical store: v1.1 names, dims and dtypes, deterministic bytes, and one line for every broken file."""

import hashlib
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from golden.regenerate import NAMES, describe, golden_file, small_content
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.storage import ZipStore

import pipeline
from pipeline.errors import LayoutError
from pipeline.layouts import LAYOUTS
from pipeline.layouts.ssl4eo import NO_TIME, ShardContent, file_digest, open_shard, write_shard
from pipeline.records import MODALITIES

SERIES = ("sample", "time")
V1_1 = {
    "band": (("band",), "<U3"),
    "sample": (("sample",), "<U7"),
    "time": (("time",), "<i8"),
    "x": (("x",), "<i8"),
    "y": (("y",), "<i8"),
    "bands": ((*SERIES, "band", "y", "x"), "<i2"),
    "cloud_mask": ((*SERIES, "y", "x"), "|u1"),
    "center_lat": (("sample",), "<f8"),
    "center_lon": (("sample",), "<f8"),
    "crs": (("sample",), "<i8"),
    "file_id": (SERIES, "<U38"),
    "sample_id": (SERIES, "<U9"),
    "time_": (SERIES, "<M8[ns]"),
    "x_": (("sample", "x"), "<f8"),
    "y_": (("sample", "y"), "<f8"),
}
"""The listing in specs/ssl4eo-s12.md, section 2.2, for S2L2A."""
COORDINATES = {"band", "sample", "time", "x", "y"}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "all" / "S2L2A" / "landslides_all_000001.zarr.zip"
    write_shard(path, small_content("S2L2A"))
    return path


def noisy(seed: int = 0, *, samples: int = 2, side: int = 192) -> ShardContent:
    """Content large enough for Blosc to cut it into several blocks."""
    random = np.random.default_rng(seed)
    frames = (samples, 2)
    return replace(
        small_content("S2L2A"),
        bands=random.integers(-500, 9000, (*frames, 12, side, side)).astype(np.int16),
        cloud_mask=random.integers(0, 7, (*frames, side, side)).astype(np.uint8),
        sample_ids=tuple(f"{index:07d}" for index in range(samples)),
        file_ids=np.full(frames, "a" * 38),
        times=np.full(frames, np.datetime64("2023-08-10T09:50:31", "ns")),
        epsg=np.full(samples, 32633),
        lon=random.random(samples),
        lat=random.random(samples),
        eastings=random.random((samples, side)),
        northings=random.random((samples, side)),
    )


def test_xarray_reads_the_v1_1_listing_from_a_zip_store(shard: Path) -> None:
    store = ZipStore(shard, mode="r")
    dataset = xr.open_zarr(store)
    assert {name: (array.dims, array.dtype.str) for name, array in dataset.variables.items()} == V1_1
    assert set(dataset.coords) == COORDINATES
    assert dict(dataset.sizes) == {"sample": 2, "time": 2, "band": 12, "y": 8, "x": 8}
    store.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_modality_has_its_dtype_bands_and_length(tmp_path: Path, name: str) -> None:
    modality = MODALITIES[name]
    write_shard(tmp_path / "a.zarr.zip", small_content(name))
    with open_shard(tmp_path / "a.zarr.zip") as dataset:
        assert dataset["bands"].dtype == modality.dtype
        assert tuple(dataset["band"].values) == modality.band_names
        assert dataset.sizes["time"] == (2 if modality.is_series else 1)
        assert ("cloud_mask" in dataset) == (name == "S2L2A")
        assert dataset["bands"].attrs["units"] == modality.unit
        for attribute in ("_FillValue", "scale_factor", "add_offset"):
            assert attribute not in dataset["bands"].attrs


@settings(max_examples=40)
@given(
    bands=hnp.arrays(
        st.sampled_from([np.int16, np.uint8, np.float32, np.float16]),
        hnp.array_shapes(min_dims=5, max_dims=5, max_side=3),
    ),
    text=st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), max_size=70),
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, bands: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.zarr.zip"
    samples, times, count, height, width = bands.shape
    content = replace(
        small_content("S1ASC"),
        bands=bands,
        band_names=tuple(f"b{index}" for index in range(count)),
        sample_ids=tuple(f"s{index}" for index in range(samples)),
        file_ids=np.full((samples, times), text or "x"),
        times=np.full((samples, times), NO_TIME),
        epsg=np.arange(samples),
        lon=np.linspace(-180, 179, samples),
        lat=np.linspace(-80, 84, samples),
        eastings=np.arange(samples * width, dtype=float).reshape(samples, width),
        northings=-np.arange(samples * height, dtype=float).reshape(samples, height),
    )
    write_shard(path, content)
    with open_shard(path) as dataset:
        np.testing.assert_array_equal(dataset["bands"].values, bands)
        assert dataset["bands"].dtype == bands.dtype
        assert (dataset["file_id"].values == (text or "x")).all()
        assert np.isnat(dataset["time_"].values).all()
        np.testing.assert_array_equal(dataset["crs"].values, content.epsg)
        np.testing.assert_array_equal(dataset["center_lon"].values, content.lon)
        np.testing.assert_array_equal(dataset["center_lat"].values, content.lat)
        np.testing.assert_array_equal(dataset["x_"].values, content.eastings)
        np.testing.assert_array_equal(dataset["y_"].values, content.northings)
        expected = [[f"s{sample}_{step}" for step in range(times)] for sample in range(samples)]
        assert dataset["sample_id"].values.tolist() == expected


def test_times_are_nanoseconds_and_missing_ones_stay_missing(shard: Path) -> None:
    with open_shard(shard) as dataset:
        np.testing.assert_array_equal(dataset["time_"].values, small_content("S2L2A").times)
        assert dataset["time_"].encoding["units"] == "nanoseconds since 1970-01-01"
        assert dataset["time_"].encoding["calendar"] == "proleptic_gregorian"
        assert dataset["file_id"].values[1, 1] == ""


def test_all_chunks_are_there_even_those_of_zeros_only(shard: Path) -> None:
    with zipfile.ZipFile(shard) as archive:
        entries = set(archive.namelist())
    for sample in range(2):
        for step in range(2):
            assert f"bands/{sample}.{step}.0.0.0" in entries
            assert f"cloud_mask/{sample}.{step}.0.0" in entries
    for name in V1_1:
        assert any(entry.startswith(f"{name}/0") for entry in entries), name


def test_a_chunk_is_one_sample_at_one_time(shard: Path) -> None:
    group = zarr.open_group(ZipStore(shard, mode="r"), mode="r", zarr_format=2)
    assert group["bands"].chunks == (1, 1, 12, 8, 8)
    assert group["cloud_mask"].chunks == (1, 1, 8, 8)
    assert group["x_"].chunks == (2, 8)


def test_the_zip_is_stored_sorted_timeless_and_free_of_duplicates(shard: Path) -> None:
    with zipfile.ZipFile(shard) as archive:
        infos = archive.infolist()
        assert archive.testzip() is None
    names = [info.filename for info in infos]
    assert names == sorted(set(names))
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {(info.create_system, info.external_attr, info.extra, info.comment) for info in infos} == {
        (3, 0o644 << 16, b"", b"")
    }


def test_metadata_is_strict_and_canonical_json(shard: Path) -> None:
    with zipfile.ZipFile(shard) as archive:
        for name in archive.namelist():
            if name.rsplit("/", 1)[-1].startswith("."):
                text = archive.read(name).decode()
                tree = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
                assert text == json.dumps(tree, sort_keys=True, indent=1)


def test_consolidated_metadata_says_what_each_array_says_itself(shard: Path) -> None:
    with zipfile.ZipFile(shard) as archive:
        consolidated = json.loads(archive.read(".zmetadata"))["metadata"]
        single = [name for name in archive.namelist() if name.endswith((".zarray", ".zattrs", ".zgroup"))]
        assert sorted(consolidated) == sorted(single)
        for name in single:
            assert consolidated[name] == json.loads(archive.read(name)), name


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_is_the_golden_one(tmp_path: Path, name: str) -> None:
    write_shard(tmp_path / "a.zarr.zip", small_content(name))
    golden = json.loads(golden_file(name).read_text())
    assert describe(tmp_path / "a.zarr.zip") == golden, "if wanted: python -m tests.golden.regenerate"


def test_the_same_content_gives_the_same_bytes_from_any_thread(tmp_path: Path) -> None:
    contents = [noisy(seed) for seed in range(2)]
    alone = [write_shard(tmp_path / f"main-{index}.zarr.zip", content) for index, content in enumerate(contents)]

    def write(number: int) -> tuple[str, int]:
        return write_shard(tmp_path / f"thread-{number}.zarr.zip", contents[number % 2])

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, range(12)))
    assert written == alone * 6
    again = [write_shard(tmp_path / f"again-{index}.zarr.zip", content) for index, content in enumerate(contents)]
    assert again == alone
    assert alone[0] != alone[1]


def test_attributes_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    content = small_content("S2L2A")
    turned = replace(content, band_attributes=dict(reversed(list(content.band_attributes.items()))))
    assert write_shard(tmp_path / "a.zip", content) == write_shard(tmp_path / "b.zip", turned)


def test_arrays_in_another_memory_order_give_the_same_bytes(tmp_path: Path) -> None:
    content = noisy(samples=2, side=16)
    turned = replace(content, bands=np.asfortranarray(content.bands), lon=np.repeat(content.lon, 2)[::2])
    assert write_shard(tmp_path / "a.zip", content) == write_shard(tmp_path / "b.zip", turned)


def test_the_digest_and_size_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    digest, size = write_shard(path, small_content("DEM"))
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest() == file_digest(path)
    assert size == path.stat().st_size


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.zarr.zip"
    write_shard(path, small_content("DEM"))
    write_shard(path, small_content("S1ASC"))
    assert [file.name for file in path.parent.iterdir()] == ["a.zarr.zip"]
    with open_shard(path) as dataset:
        assert dataset.attrs["modality"] == "S1ASC"


def test_a_target_that_cannot_be_written_raises_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.zarr.zip").mkdir()
    (tmp_path / "a.zarr.zip" / "taken").touch()
    with pytest.raises(OSError, match=r"a\.zarr\.zip"):
        write_shard(tmp_path / "a.zarr.zip", small_content("DEM"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr.zip"]


def test_a_store_as_published_opens_too(tmp_path: Path) -> None:
    """Whole-shard chunks, lz4, written by xarray itself to a folder that is zipped afterwards."""
    with xr.open_zarr(ZipStore(shard_of(tmp_path), mode="r")) as dataset:
        published = dataset.load().drop_encoding()
    published.to_zarr(tmp_path / "folder", zarr_format=2, consolidated=True, mode="w")
    with zipfile.ZipFile(tmp_path / "published.zarr.zip", "w") as archive:
        for file in sorted((tmp_path / "folder").rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "folder").as_posix())
    with open_shard(tmp_path / "published.zarr.zip") as dataset:
        xr.testing.assert_identical(dataset.load(), published)


def shard_of(folder: Path) -> Path:
    write_shard(folder / "ours.zarr.zip", noisy(samples=2, side=8))
    return folder / "ours.zarr.zip"


def test_opening_is_lazy_and_closing_lets_go_of_the_file(shard: Path) -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("open files are listed under /proc only on Linux")

    def handles() -> int:
        return sum(os.path.realpath(link) == str(shard) for link in folder.iterdir())

    before = handles()
    with open_shard(shard) as dataset:
        assert not dataset["bands"].variable._in_memory
        assert dataset["bands"].chunks is None
    assert handles() == before


def test_open_shard_is_offered_by_the_package_and_by_the_layout(shard: Path) -> None:
    assert pipeline.open_shard is open_shard
    assert LAYOUTS["ssl4eo-s12-v1.1"].open is open_shard
    with pipeline.open_shard(str(shard)) as dataset:
        assert dataset.attrs["layout"] == "ssl4eo-s12-v1.1"


BROKEN = {
    "empty": lambda whole: whole[:0],
    "text": lambda whole: b"no zip at all" * len(whole),
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "without its last bytes": lambda whole: whole[:-10],
    "without its first bytes": lambda whole: whole[100:],
    "overwritten at the start": lambda whole: bytes(200) + whole[200:],
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, shard: Path, damage: Any) -> None:
    path = tmp_path / "a.zarr.zip"
    path.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(LayoutError, match=rf"^{path} is not a whole \.zarr\.zip: .+") as caught:
        open_shard(path)
    assert "\n" not in str(caught.value)


GROUP = '{"zarr_format": 2}'
STRANGE: dict[str, dict[str, str]] = {
    "nothing": {},
    "other files": {"readme.txt": "hello"},
    "metadata cut short": {".zgroup": GROUP, ".zmetadata": '{"metadata": {'},
    "metadata null": {".zgroup": GROUP, ".zmetadata": "null"},
    "metadata a list": {".zgroup": GROUP, ".zmetadata": "[]"},
    "metadata of another shape": {".zgroup": GROUP, ".zmetadata": '{"metadata": []}'},
}


@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated metadata")
@pytest.mark.parametrize("entries", STRANGE.values(), ids=STRANGE)
def test_a_zip_that_is_no_store_is_refused_in_one_line(tmp_path: Path, entries: dict[str, str]) -> None:
    path = tmp_path / "a.zarr.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    with pytest.raises(LayoutError, match=rf"^{path} is not a whole \.zarr\.zip: ") as caught:
        open_shard(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_is_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "a.zarr.zip", tmp_path):
        with pytest.raises(LayoutError, match=rf"^{path} does not exist$"):
            open_shard(path)
