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
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc, blosc
from numpy.typing import NDArray
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from pipeline.errors import LayoutError
from pipeline.layouts.containers import ShardStore

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every zip entry: the earliest that the format knows."""

TIME_ATTRIBUTES = {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian"}

NO_TIME = np.datetime64("NaT", "ns")


Store = Literal["chunked", "published"]
"""One patch and time per chunk under zstd 3 bitshuffle, or as the published files: all patches of a time, lz4 5."""

CODECS: Mapping[Store, Blosc] = {
    "chunked": Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE, blocksize=0),
    "published": Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE, blocksize=0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardContent:
    """Everything that one shard file of one modality holds."""

    bands: NDArray[Any]
    """(sample, time, band, y, x) in the modality's dtype."""
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
    cloud_mask: NDArray[np.uint8] | None = None
    """(sample, time, y, x) classes 0-6; Sentinel-2 modalities only."""
    band_attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of `bands`: unit, no data, offset, resampling."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the group."""
    store: Store = "chunked"


def write_shard(path: Path, content: ShardContent) -> tuple[str, int]:
    """Write `content` to `path` in one step: nothing is there until the file is whole.

    Returns
    -------
    SHA-256 (hexadecimal) and size [bytes] of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Somebody else may write the same file: a worker whose driver was killed, on another machine.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as raw:
            dump_shard(raw, content)
            raw.flush()
            os.fsync(raw.fileno())
        digest, size = file_digest(temporary), temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest, size


def dump_shard(raw: BinaryIO, content: ShardContent) -> None:
    """Write `content` to an open file."""
    write_zip(raw, _encode(content))


def open_shard(path: str | Path) -> xr.Dataset:
    """Open a `.zarr.zip` shard of the SSL4EO-S12 v1.1 layout, ours or a published one, lazily.

    Raises
    ------
    LayoutError
        The file does not exist, is not a whole zip, holds no Zarr group, or would expand beyond any use.
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
    return dataset


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def _encode(content: ShardContent) -> dict[str, bytes]:
    # Blosc's threads store blocks in the order that they finish: the bytes would differ from run to run.
    blosc.use_threads = False
    held: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(held), zarr_format=2, attributes=dict(content.attributes))
    for name, variable in sorted(_variables(content).items()):
        _write_array(group, name, variable, content.store)
    zarr.consolidate_metadata(group.store, zarr_format=2)
    entries = {key: held[key].to_bytes() for key in sorted(held)}
    return {key: _canonical_json(value) if key.rsplit("/")[-1][0] == "." else value for key, value in entries.items()}


def _canonical_json(text: bytes) -> bytes:
    return json.dumps(json.loads(text), sort_keys=True, indent=1).encode()


class _Variable(NamedTuple):
    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: dict[str, Any]


def _variables(content: ShardContent) -> dict[str, _Variable]:
    samples, times, _, height, width = content.bands.shape
    sample_ids = np.array(content.sample_ids, dtype=np.str_)
    steps = np.arange(times, dtype=np.int64)
    frame_ids = [[f"{sample}_{step}" for step in steps] for sample in content.sample_ids]
    series = ("sample", "time")
    plain: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {
        "bands": ((*series, "band", "y", "x"), content.bands, dict(content.band_attributes)),
        "band": (("band",), np.array(content.band_names, dtype=np.str_), {}),
        "sample": (("sample",), sample_ids, {}),
        "time": (("time",), steps, {}),
        "x": (("x",), np.arange(width, dtype=np.int64), {}),
        "y": (("y",), np.arange(height, dtype=np.int64), {}),
        "center_lat": (("sample",), content.lat, {}),
        "center_lon": (("sample",), content.lon, {}),
        "crs": (("sample",), content.epsg, {}),
        "file_id": (series, content.file_ids, {}),
        "sample_id": (series, np.array(frame_ids, dtype=np.str_).reshape(samples, times), {}),
        "time_": (series, content.times.astype("datetime64[ns]").astype(np.int64), dict(TIME_ATTRIBUTES)),
        "x_": (("sample", "x"), content.eastings, {}),
        "y_": (("sample", "y"), content.northings, {}),
    }
    if content.cloud_mask is not None:
        plain["cloud_mask"] = ((*series, "y", "x"), content.cloud_mask, dict(CLOUD_MASK_ATTRIBUTES))
    return {name: _Variable(*parts) for name, parts in plain.items()}


CLOUD_MASK_ATTRIBUTES = {
    "classes": "0 land, 1 water, 2 snow, 3 thin cloud, 4 thick cloud, 5 cloud shadow, 6 no data",
    "source": "Sentinel-2 scene classification (SCL) 2 4 5 7: 0, 6: 1, 11: 2, 10: 3, 8 9: 4, 3: 5, others: 6",
}


def _chunks(name: str, values: NDArray[Any], store: Store) -> tuple[int, ...]:
    if name not in {"bands", "cloud_mask"}:
        return values.shape
    return (values.shape[0] if store == "published" else 1, 1, *values.shape[2:])


def _write_array(group: zarr.Group, name: str, variable: _Variable, store: Store) -> None:
    values = variable.values
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=_chunks(name, values, store),
        compressors=CODECS[store],
        fill_value=np.nan if values.dtype.kind == "f" else None,
        order="C",
        attributes={**variable.attributes, "_ARRAY_DIMENSIONS": list(variable.dims)},
        # A chunk that is left out reads as uninitialised memory under zarr 2 where the fill value is null.
        config={"write_empty_chunks": True},
    )
    array[...] = values


def write_zip(target: Path | BinaryIO, entries: Mapping[str, bytes]) -> None:
    """Write `entries`, stored, in the order of their names and without a time of day: same content, same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, entries[name])
