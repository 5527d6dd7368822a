"""The canonical store: one Zarr v2 zip per shard and modality, as SSL4EO-S12 v1.1 lays them out.

The names of v1.1 (`bands`, `cloud_mask`, `center_lat`, `center_lon`, `crs`, `file_id`, `sample_id`, `time_`, `x_`,
`y_`; dims sample, time, band, y, x) live here alone. The same content always gives the same bytes.
"""

import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from pipeline.errors import LayoutError
from pipeline.layouts.containers import ShardStore
from pipeline.layouts.encoding import (
    BANDS,
    CLOUD_MASK,
    CODECS,
    EncodedPixels,
    PixelShape,
    Store,
    open_encoder,
)
from pipeline.layouts.stored_zip import write_zip

TIME_ATTRIBUTES = {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian"}

NO_TIME = np.datetime64("NaT", "ns")


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardLabels:
    """Everything that one shard file of one modality holds beside pixels."""

    band_names: tuple[str, ...]
    sample_ids: tuple[str, ...]
    file_ids: NDArray[np.str_]
    """(sample, time) source product; empty where missing."""
    times: NDArray[np.datetime64]
    """datetime64[ns] (sample, time) acquisition, UTC; NaT where missing."""
    epsg: NDArray[np.int64]
    """(sample) UTM zone."""
    lon: NDArray[np.float64]
    """(sample) centre [degrees]."""
    lat: NDArray[np.float64]
    """(sample) centre [degrees]."""
    eastings: NDArray[np.float64]
    """(sample, x) pixel centres [m]."""
    northings: NDArray[np.float64]
    """(sample, y) pixel centres [m], falling."""
    band_attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of `bands`: unit, no data, offset, resampling."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the group."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardContent(ShardLabels):
    """Everything that one shard file of one modality holds."""

    bands: NDArray[Any]
    """(sample, time, band, y, x) in the modality's dtype."""
    cloud_mask: NDArray[np.uint8] | None = None
    """(sample, time, y, x) classes 0-6; Sentinel-2 modalities only."""
    store: Store = "chunked"


def write_shard(path: Path, content: ShardContent) -> tuple[str, int]:
    """Write a shard whose pixels are all at hand; as `write_encoded`."""
    samples, times, bands, height, width = content.bands.shape
    shape = PixelShape(
        samples=samples, times=times, bands=bands, height=height, width=width, dtype=content.bands.dtype, fill=0,
        has_cloud_mask=content.cloud_mask is not None, store=content.store,
    )  # fmt: skip
    with open_encoder(shape) as encoder:
        for at in product(range(samples), range(times)):
            mask = None if content.cloud_mask is None else content.cloud_mask[at]
            encoder.put(*at, content.bands[at], mask)
        return write_encoded(path, content, encoder.finish())


def write_encoded(path: Path, labels: ShardLabels, pixels: EncodedPixels) -> tuple[str, int]:
    """Write one file in one step: nothing is there until it is whole.

    Returns
    -------
    SHA-256 (hexadecimal) and size [bytes] of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Somebody else may write the same file: a worker whose driver was killed, on another machine.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as raw:
            digest = dump_encoded(raw, labels, pixels)
            raw.flush()
            os.fsync(raw.fileno())
        size = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest, size


def dump_encoded(raw: BinaryIO, labels: ShardLabels, pixels: EncodedPixels) -> str:
    """Write the same bytes to an open file; return their SHA-256 (hexadecimal)."""
    return write_zip(raw, _entries(labels, pixels))


def open_shard(path: str | Path) -> xr.Dataset:
    """Open a `.zarr.zip` shard of the SSL4EO-S12 v1.1 layout, ours or a published one, lazily.

    Raises
    ------
    LayoutError
        The file does not exist, is not a whole zip, holds no Zarr group, names bands or samples in what is no text, or
        would expand beyond any use.
    """
    target = Path(path)
    if not target.is_file():
        raise LayoutError(f"{path} does not exist")
    store = ShardStore(target)
    try:
        dataset: xr.Dataset = xr.open_zarr(store, chunks=None, zarr_format=2)
    except (zipfile.BadZipFile, OSError, KeyError, TypeError, ValueError) as err:
        problem = " ".join(str(err).split())
        raise LayoutError(f"{path} is not a whole .zarr.zip: {problem}") from err
    dataset.set_close(store.close)
    try:
        _require_text(dataset, path)
    except LayoutError:
        dataset.close()
        raise
    return dataset


def _require_text(dataset: xr.Dataset, path: str | Path) -> None:
    """Refuse names that are no text: an index takes them from a file as they are, and fails when they are read."""
    for name in dataset.indexes:
        try:
            _ = dataset[name].values
        except (pa.ArrowException, ValueError) as err:
            raise LayoutError(f"{path} is damaged: {name} holds what is no text") from err


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _entries(labels: ShardLabels, pixels: EncodedPixels) -> dict[str, bytes]:
    held: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(held), zarr_format=2, attributes=dict(labels.attributes))
    for name, variable in sorted(_variables(labels, pixels.shape).items()):
        _write_array(group, name, variable, pixels.shape)
    zarr.consolidate_metadata(group.store, zarr_format=2)
    entries = {key: held[key].to_bytes() for key in held}
    texts = {key: _canonical_json(value) for key, value in entries.items() if key.rsplit("/")[-1][0] == "."}
    return {**entries, **texts, **pixels.chunks}


def _canonical_json(text: bytes) -> bytes:
    return json.dumps(json.loads(text), sort_keys=True, indent=1).encode()


class _Variable(NamedTuple):
    dims: tuple[str, ...]
    values: NDArray[Any]
    """Of pixels only shape and dtype count: their chunks are there already."""
    attributes: dict[str, Any]


def _variables(labels: ShardLabels, shape: PixelShape) -> dict[str, _Variable]:
    sample_ids = np.array(labels.sample_ids, dtype=np.str_)
    steps = np.arange(shape.times, dtype=np.int64)
    frame_ids = [[f"{sample}_{step}" for step in steps] for sample in labels.sample_ids]
    series = ("sample", "time")
    pixels = {name: np.broadcast_to(dtype.type(0), size) for name, (size, dtype) in shape.arrays.items()}
    plain: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {
        "bands": ((*series, "band", "y", "x"), pixels[BANDS], dict(labels.band_attributes)),
        "band": (("band",), np.array(labels.band_names, dtype=np.str_), {}),
        "sample": (("sample",), sample_ids, {}),
        "time": (("time",), steps, {}),
        "x": (("x",), np.arange(shape.width, dtype=np.int64), {}),
        "y": (("y",), np.arange(shape.height, dtype=np.int64), {}),
        "center_lat": (("sample",), labels.lat, {}),
        "center_lon": (("sample",), labels.lon, {}),
        "crs": (("sample",), labels.epsg, {}),
        "file_id": (series, labels.file_ids, {}),
        "sample_id": (series, np.array(frame_ids, dtype=np.str_).reshape(shape.samples, shape.times), {}),
        "time_": (series, labels.times.astype("datetime64[ns]").astype(np.int64), dict(TIME_ATTRIBUTES)),
        "x_": (("sample", "x"), labels.eastings, {}),
        "y_": (("sample", "y"), labels.northings, {}),
    }
    if CLOUD_MASK in pixels:
        plain["cloud_mask"] = ((*series, "y", "x"), pixels[CLOUD_MASK], dict(CLOUD_MASK_ATTRIBUTES))
    return {name: _Variable(*parts) for name, parts in plain.items()}


CLOUD_MASK_ATTRIBUTES = {
    "classes": "0 land, 1 water, 2 snow, 3 thin cloud, 4 thick cloud, 5 cloud shadow, 6 no data",
    "source": "Sentinel-2 scene classification (SCL) 2 4 5 7: 0, 6: 1, 11: 2, 10: 3, 8 9: 4, 3: 5, others: 6",
}


def _write_array(group: zarr.Group, name: str, variable: _Variable, shape: PixelShape) -> None:
    values = variable.values
    is_pixels = name in shape.arrays
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(shape.rows, 1, *values.shape[2:]) if is_pixels else values.shape,
        compressors=CODECS[shape.store],
        fill_value=np.nan if values.dtype.kind == "f" else None,
        order="C",
        attributes={**variable.attributes, "_ARRAY_DIMENSIONS": list(variable.dims)},
        # A chunk that is left out reads as uninitialised memory under zarr 2 where the fill value is null.
        config={"write_empty_chunks": True},
    )
    if not is_pixels:
        array[...] = values
