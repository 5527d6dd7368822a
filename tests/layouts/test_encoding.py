"""Chunks on their way into a file: as zarr itself stores them, in whatever order and from whatever thread they come."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from pipeline.errors import LayoutError
from pipeline.layouts.encoding import CODECS, PixelEncoder, PixelShape, Store, open_encoder

SIZE = 96
"""Large enough for Blosc to cut a chunk into several blocks."""


def shape_of(store: Store = "chunked", **changes: Any) -> PixelShape:
    usual = {"samples": 3, "times": 2, "bands": 2, "height": SIZE, "width": SIZE, "fill": -32768.0}
    return PixelShape(**{**usual, "dtype": np.dtype(np.int16), "has_cloud_mask": True, "store": store, **changes})


def frames_of(shape: PixelShape, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[Any, Any]]:
    rng = np.random.default_rng(7)
    image = (shape.height, shape.width)
    return {
        at: (
            rng.normal(0, 30, (shape.bands, *image)).astype(shape.dtype),
            rng.integers(0, 7, image).astype(np.uint8),
        )
        for at in places
    }


def chunks_of_zarr(shape: PixelShape, frames: dict[tuple[int, int], tuple[Any, Any]]) -> dict[str, bytes]:
    """What zarr stores of the same pixels, written at once."""
    stored = {}
    for name, fill in (("bands", shape.fill), ("cloud_mask", 6)):
        if name not in shape.arrays:
            continue
        size, dtype = shape.arrays[name]
        whole = np.full(size, fill, dtype)
        for at, (values, mask) in frames.items():
            whole[at] = mask if name == "cloud_mask" else values
        held: dict[str, Any] = {}
        array = zarr.create_array(
            MemoryStore(held), shape=size, dtype=dtype, chunks=(shape.rows, 1, *size[2:]), zarr_format=2,
            compressors=CODECS[shape.store], fill_value=None, config={"write_empty_chunks": True},
        )  # fmt: skip
        array[...] = whole
        stored |= {f"{name}/{key}": value.to_bytes() for key, value in held.items() if not key.startswith(".")}
    return stored


@settings(max_examples=15)
@given(
    store=st.sampled_from(["chunked", "published"]),
    dtype=st.sampled_from(["int16", "uint8", "float16", "float32"]),
    has_cloud_mask=st.booleans(),
    order=st.permutations(list(product(range(3), range(2)))),
    count=st.integers(0, 6),
)
def test_chunks_are_those_of_zarr_in_whatever_order_patches_come(store, dtype, has_cloud_mask, order, count) -> None:
    fill = float("nan") if dtype.startswith("f") else 5.0
    shape = shape_of(store, dtype=np.dtype(dtype), has_cloud_mask=has_cloud_mask, fill=fill)
    frames = frames_of(shape, order[:count])
    with open_encoder(shape) as encoder:
        for at, (values, mask) in frames.items():
            encoder.put(*at, values, mask)
        assert dict(encoder.finish().chunks) == chunks_of_zarr(shape, frames)


@pytest.mark.parametrize("store", ["chunked", "published"])
def test_patches_from_many_threads_and_a_full_queue_change_no_byte(store: Store) -> None:
    shape = shape_of(store, samples=8, times=3)
    frames = frames_of(shape, list(product(range(8), range(3))))
    expected = chunks_of_zarr(shape, frames)
    for waiting in (1, 100):
        with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(6) as painters:
            encoder = PixelEncoder(shape, pool, waiting=waiting)
            list(painters.map(lambda at: encoder.put(*at, *frames[at]), frames))  # noqa: B023
            assert dict(encoder.finish().chunks) == expected


def test_a_patch_of_another_shape_or_dtype_is_refused() -> None:
    with open_encoder(shape_of()) as encoder:
        with pytest.raises(LayoutError, match=r"^bands takes int16 \(2, 96, 96\), got int16 \(2, 96, 95\)$"):
            encoder.put(0, 0, np.zeros((2, SIZE, SIZE - 1), np.int16))
        with pytest.raises(LayoutError, match=r"^bands takes int16 \(2, 96, 96\), got float32 \(2, 96, 96\)$"):
            encoder.put(0, 0, np.zeros((2, SIZE, SIZE), np.float32))


def test_a_place_takes_one_patch() -> None:
    with open_encoder(shape_of()) as encoder:
        encoder.put(1, 1, np.zeros((2, SIZE, SIZE), np.int16))
        with pytest.raises(LayoutError, match=r"^bands has a patch for sample 1 at time 1 already$"):
            encoder.put(1, 1, np.zeros((2, SIZE, SIZE), np.int16))


def test_what_compressing_raises_comes_out_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(PixelEncoder, "_encoded", fail)
    with open_encoder(shape_of()) as encoder:
        encoder.put(0, 0, np.zeros((2, SIZE, SIZE), np.int16))
        with pytest.raises(MemoryError):
            encoder.finish()
