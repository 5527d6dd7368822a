"""Single patches read straight from the file: what xarray reads, from our files and from others'."""

import pickle
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.regenerate import small_content
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc, blosc

import pipeline
from pipeline.errors import LayoutError
from pipeline.layouts.blosc_parts import unpack_part
from pipeline.layouts.encoding import Store
from pipeline.layouts.random_access import ShardReader, open_patches
from pipeline.layouts.ssl4eo import ShardContent, open_shard, write_shard

STORES: tuple[Store, ...] = ("chunked", "published")


def content_of(
    store: Store = "chunked", dtype: str = "int16", samples: int = 3, times: int = 2, side: int = 40
) -> ShardContent:
    rng = np.random.default_rng(samples * 100 + side)
    frames = (samples, times)
    return replace(
        small_content("S2L2A"),
        bands=rng.normal(0, 60, (*frames, 12, side, side)).astype(dtype),
        cloud_mask=rng.integers(0, 7, (*frames, side, side)).astype(np.uint8),
        sample_ids=tuple(f"place-{index}" for index in range(samples)),
        file_ids=np.full(frames, "x"),
        times=np.full(frames, np.datetime64("2023-08-10", "ns")),
        epsg=np.full(samples, 32633),
        lon=np.zeros(samples),
        lat=np.zeros(samples),
        eastings=np.zeros((samples, side)),
        northings=np.zeros((samples, side)),
        store=store,
    )


def assert_same_as_xarray(path: Path) -> None:
    with open_shard(path) as lazy:
        dataset = lazy.load()
    with open_patches(path) as reader:
        assert reader.samples == tuple(dataset["sample"].values.tolist())
        assert reader.bands == tuple(dataset["band"].values.tolist())
        assert (reader.timesteps, reader.dtype) == (dataset.sizes["time"], dataset["bands"].dtype)
        assert reader.shape == dataset["bands"].shape[2:]
        assert reader.has_cloud_mask == ("cloud_mask" in dataset)
        for index, step in product(range(len(reader.samples)), range(reader.timesteps)):
            frame = reader.read(index, step)
            assert frame.dtype == dataset["bands"].dtype
            np.testing.assert_array_equal(frame, dataset["bands"][index, step].values)
            np.testing.assert_array_equal(reader.read(reader.samples[index], step), frame)
            if reader.has_cloud_mask:
                mask = reader.read_cloud_mask(index, step)
                np.testing.assert_array_equal(mask, dataset["cloud_mask"][index, step].values)


contents = st.builds(
    content_of,
    store=st.sampled_from(STORES),
    dtype=st.sampled_from(["int16", "uint8", "float16", "float32"]),
    samples=st.integers(1, 5),
    times=st.integers(1, 2),
    side=st.integers(1, 70),
)


@settings(max_examples=12)
@given(content=contents, has_mask=st.booleans())
def test_every_patch_is_the_one_that_xarray_reads(
    tmp_path_factory: pytest.TempPathFactory, content: ShardContent, has_mask: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.zarr.zip"
    write_shard(path, content if has_mask else replace(content, cloud_mask=None))
    assert_same_as_xarray(path)


@pytest.mark.parametrize(
    ("chunks", "codec"),
    [
        ((1, 1), None),
        ((2, 2), None),
        ((3, 2), Blosc("lz4", 5, Blosc.SHUFFLE)),
        ((2, 1), Blosc("zstd", 1, Blosc.NOSHUFFLE)),
    ],
)
def test_files_that_xarray_itself_has_written_are_read_too(tmp_path: Path, chunks: tuple[int, int], codec: Any) -> None:
    write_shard(tmp_path / "ours.zarr.zip", content_of())
    with open_shard(tmp_path / "ours.zarr.zip") as dataset:
        other = dataset.load().drop_encoding()
    encoding = {
        name: {"chunks": (*chunks, *other[name].shape[2:]), "compressors": codec} for name in ("bands", "cloud_mask")
    }
    other.to_zarr(tmp_path / "folder", zarr_format=2, consolidated=True, encoding=encoding)
    path = tmp_path / "theirs.zarr.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((tmp_path / "folder").rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(tmp_path / "folder").as_posix())
    assert_same_as_xarray(path)


@pytest.fixture(scope="module", params=STORES)
def shard(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    path = tmp_path_factory.mktemp("patches") / f"{request.param}.zarr.zip"
    write_shard(path, content_of(request.param))
    return path


def test_the_caller_owns_what_is_read(shard: Path) -> None:
    with open_patches(shard) as reader:
        first = reader.read(0, 0)
        first += 1
        np.testing.assert_array_equal(reader.read(0, 0) + 1, first)


def test_threads_share_a_reader_and_processes_get_one_of_their_own(shard: Path) -> None:
    with open_patches(shard) as reader:
        places = list(product(range(3), range(2))) * 5
        expected = [reader.read(*at).tobytes() for at in places]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda at: reader.read(*at).tobytes(), places)) == expected
        with pickle.loads(pickle.dumps(reader)) as other:  # noqa: S301
            assert [other.read(*at).tobytes() for at in places] == expected


def test_what_is_not_there_is_refused_by_name(shard: Path) -> None:
    with open_patches(shard) as reader:
        for place in ((3, 0), (-1, 0)):
            with pytest.raises(IndexError, match=rf"has no sample {place[0]}: there are 3$"):
                reader.read(*place)
        with pytest.raises(IndexError, match=r"has no timestep 2: there are 2$"):
            reader.read("place-0", 2)
        with pytest.raises(KeyError, match="elsewhere"):
            reader.read("elsewhere", 0)


def test_a_modality_without_cloud_mask_says_so(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.zarr.zip", small_content("DEM"))
    with open_patches(tmp_path / "a.zarr.zip") as reader, pytest.raises(LayoutError, match=r"has no cloud_mask$"):
        reader.read_cloud_mask(0, 0)


BROKEN = {
    "empty": lambda whole: whole[:0],
    "text": lambda whole: b"no zip at all" * len(whole),
    "cut in the middle": lambda whole: whole[: len(whole) // 2],
    "without its last bytes": lambda whole: whole[:-10],
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, shard: Path, damage: Any) -> None:
    path = tmp_path / "a.zarr.zip"
    path.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(LayoutError, match=rf"^{path} is not a whole \.zarr\.zip: .+") as caught:
        open_patches(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"nowhere\.zip cannot be opened: No such file or directory$"):
        open_patches(tmp_path / "nowhere.zip")


@settings(max_examples=30)
@given(at=st.integers(0, 2**40), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_no_pixel(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.zarr.zip"
    content = content_of(samples=2, side=9)
    if not whole.exists():
        write_shard(whole, content)
    data = bytearray(whole.read_bytes())
    data[at % len(data)] ^= 1 << bit
    (folder / "flipped.zarr.zip").write_bytes(data)
    try:
        with open_patches(folder / "flipped.zarr.zip") as reader:
            for place in product(range(2), range(2)):
                np.testing.assert_array_equal(reader.read(*place), content.bands[place])
    except (LayoutError, IndexError):
        pass


def test_a_chunk_that_unpacks_to_more_than_a_patch_is_refused(tmp_path: Path) -> None:
    content = content_of(samples=1, times=1, side=8)
    write_shard(tmp_path / "a.zarr.zip", content)
    bomb = Blosc("zstd", 9).encode(np.zeros(1 << 24, np.uint8))
    with zipfile.ZipFile(tmp_path / "a.zarr.zip") as whole, zipfile.ZipFile(tmp_path / "b.zarr.zip", "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, bomb if name == "bands/0.0.0.0.0" else whole.read(name))
    refused = pytest.raises(LayoutError, match=r"damaged: it unpacks to 16777216 bytes, not 1536$")
    with open_patches(tmp_path / "b.zarr.zip") as reader, refused:
        reader.read(0, 0)


def test_reading_is_offered_by_the_package(shard: Path) -> None:
    assert pipeline.open_patches is open_patches
    with pipeline.open_patches(str(shard)) as reader:
        assert isinstance(reader, ShardReader)
        reader.close()


codecs = st.builds(
    Blosc,
    cname=st.sampled_from(["lz4", "zstd", "blosclz", "zlib"]),
    clevel=st.integers(0, 9),
    shuffle=st.sampled_from([Blosc.NOSHUFFLE, Blosc.SHUFFLE, Blosc.BITSHUFFLE]),
    blocksize=st.sampled_from([0, 256, 1000, 4096]),
)


@settings(max_examples=150)
@given(
    codec=codecs,
    dtype=st.sampled_from(["u1", "i2", "f4", "f8"]),
    noise=st.sampled_from([0, 3, 1 << 20]),
    data=st.data(),
)
def test_a_part_of_a_blosc_buffer_is_that_part_of_the_whole(codec: Blosc, dtype: str, noise: int, data: Any) -> None:
    size = data.draw(st.integers(1, 30_000))
    rng = np.random.default_rng(size)
    values = (np.arange(size) // 7 + rng.integers(0, noise + 1, size)).astype(dtype)
    packed = codec.encode(values)
    raw = values.view(np.uint8)
    first = data.draw(st.integers(0, raw.size - 1))
    count = data.draw(st.integers(1, raw.size - first))
    part = unpack_part(lambda start, length: packed[start : start + length], first, count)
    np.testing.assert_array_equal(part, raw[first : first + count])


def test_a_part_reads_little_of_the_whole() -> None:
    values = np.random.default_rng(0).integers(0, 3000, 4 << 20).astype(np.int16)
    packed = Blosc("lz4", 5, Blosc.SHUFFLE).encode(values)
    asked = []

    def read(first: int, count: int) -> bytes:
        asked.append(count)
        return packed[first : first + count]

    part = unpack_part(read, 5 << 20, 1 << 18)
    np.testing.assert_array_equal(part, values.view(np.uint8)[5 << 20 :][: 1 << 18])
    assert sum(asked) < len(packed) / 5


@settings(max_examples=60)
@given(at=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(0, 4000))
def test_a_damaged_index_of_blocks_is_an_error_and_no_crash(at: int, value: int, cut: int) -> None:
    values = (np.arange(20_000) // 3).astype(np.int16)
    packed = bytearray(Blosc("lz4", 5, Blosc.SHUFFLE, blocksize=4096).encode(values))
    packed[at] = value
    data = bytes(packed[: len(packed) - cut % len(packed)])
    try:
        part = unpack_part(lambda start, length: data[start : start + length], 9000, 3000)
    except (ValueError, RuntimeError, struct.error):
        return
    assert part.size == 3000


def test_blosc_uses_no_threads_of_its_own(shard: Path) -> None:
    with open_patches(shard):
        assert blosc.use_threads is False
