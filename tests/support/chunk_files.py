"""A folder of v1.1 chunk files with known content, and tools to break it."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import zarr
from numpy.typing import NDArray
from pyproj import Transformer
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from pipeline.layouts.ssl4eo import ShardContent, Store, write_shard

BANDS = {
    "S2L2A": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    "S2L1C": ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"),
    "S1GRD": ("vv", "vh"),
    "S2RGB": ("B04", "B03", "B02"),
}
DTYPES = {"S2L2A": "int16", "S2L1C": "int16", "S1GRD": "float16", "S2RGB": "uint8"}
SIZE = 6
STEPS = 4
FILES = {"000001": ("0080717", "0060573", "0000173"), "000002": ("0179869", "0012333")}
TILES = ("T33SWC", "T33SWC", "T32SPJ", "T33SWC")
EPSG = 32633

S2_DAYS = ("2020-01-20T09:40:31", "2020-04-19T09:40:31", "2020-07-18T09:40:29", "2020-10-16T09:40:31")
S1_DAYS = (("B", "2020-01-18T05:00:01"), ("A", "2020-04-20T05:00:02"), ("B", "2020-07-20T05:00:03"),
           ("A", "2020-10-12T05:00:04"))  # fmt: skip


def times(stamps: Sequence[str]) -> NDArray[np.datetime64]:
    return np.array(stamps, "datetime64[ns]")


def compact(time: np.datetime64 | str) -> str:
    return str(np.datetime64(time, "s")).replace("-", "").replace(":", "")


def s2_id(time: np.datetime64 | str, tile: str) -> str:
    return f"{compact(time)}_{compact(time)}_{tile}"


def s1_id(satellite: str, time: np.datetime64 | str) -> str:
    end = compact(np.datetime64(time, "s") + np.timedelta64(25, "s"))
    return f"S1{satellite}_IW_GRDH_1SDV_{compact(time)}_{end}_024419_02E6C1_7A8F"


def name_of(number: str, split: str = "train") -> str:
    return f"ssl4eos12_{split}_seasonal_data_{number}.zarr.zip"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where the patch of a sample lies: the upper left corner [m]."""

    left: float
    top: float

    @classmethod
    def of(cls, sample: str) -> "Site":
        return cls(left=554_830.0 + 50 * int(sample[-4:]), top=4_215_480.0)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        return self.left, self.top - 10 * SIZE, self.left + 10 * SIZE, self.top


def lonlat(x: Any, y: Any) -> tuple[Any, Any]:
    return Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)


def content(modality: str, samples: Sequence[str], store: Store = "chunked", seed: int = 0) -> ShardContent:
    """A whole file as it should be."""
    rng = np.random.default_rng([seed, *map(ord, modality), int(samples[0])])
    shape = (len(samples), STEPS, len(BANDS[modality]), SIZE, SIZE)
    is_radar = modality == "S1GRD"
    values = rng.normal(-13, 5, shape) if is_radar else rng.integers(0, 256 if modality == "S2RGB" else 9000, shape)
    stamps = times([day for _, day in S1_DAYS] if is_radar else S2_DAYS)
    ids = [s1_id(*image) for image in S1_DAYS] if is_radar else list(map(s2_id, S2_DAYS, TILES))
    sites = [Site.of(sample) for sample in samples]
    half = np.arange(SIZE) + 0.5
    lon, lat = lonlat([site.left + 5 * SIZE for site in sites], [site.top - 5 * SIZE for site in sites])
    return ShardContent(
        bands=values.astype(DTYPES[modality]),
        band_names=BANDS[modality],
        sample_ids=tuple(samples),
        file_ids=np.array([ids] * len(samples)),
        times=np.array([stamps] * len(samples)),
        epsg=np.full(len(samples), EPSG),
        lon=np.array(lon),
        lat=np.array(lat),
        eastings=np.array([site.left + 10 * half for site in sites]),
        northings=np.array([site.top - 10 * half for site in sites]),
        cloud_mask=np.zeros((*shape[:2], *shape[3:]), np.uint8) if modality == "S2L2A" else None,
        store=store,
    )


def with_published_fault(right: ShardContent) -> ShardContent:
    """Bands and file_id in the order of product names, times ascending: as S1GRD was published."""
    by_name = np.argsort(right.file_ids, axis=1)
    return replace(
        right,
        bands=np.take_along_axis(right.bands, by_name[..., None, None, None], axis=1),
        file_ids=np.take_along_axis(right.file_ids, by_name, axis=1),
        times=np.sort(right.times, axis=1),
    )


def write_folder(root: Path, store: Store = "chunked", faulty: Sequence[str] = ()) -> Path:
    """Write two files of four modalities with list and table; the S1GRD files in `faulty` have the published fault."""
    for number, samples in FILES.items():
        for modality in BANDS:
            held = content(modality, samples, store)
            is_faulty = modality == "S1GRD" and number in faulty
            path = root / "train" / modality / name_of(number)
            write_shard(path, with_published_fault(held) if is_faulty else held)
    (root / "splits").mkdir()
    (root / "splits" / "ssl4eos12_train.txt").write_text("".join(f"{name_of(number)}\n" for number in sorted(FILES)))
    table().to_parquet(root / "splits" / "train_metadata.parquet", schema_version="1.0.0")
    return root


def table() -> gpd.GeoDataFrame:
    """The metadata table of the folder."""
    rows = []
    for number, samples in FILES.items():
        for sample in samples:
            left, bottom, right, top = Site.of(sample).bounds
            corners = lonlat([right, right, left, left], [bottom, top, top, bottom])
            for step, (day, tile) in enumerate(zip(S2_DAYS, TILES, strict=True)):
                rows.append(
                    {
                        "idx": f"{sample}_{step}",
                        "sample_id": sample,
                        "time_id": step,
                        "time": pd.Timestamp(day),
                        "tile_id": tile,
                        "geometry": shapely.Polygon(np.column_stack(corners)),
                        "tile_crs": int(f"326{tile[1:3]}"),
                        "file": name_of(number),
                    }
                )
    frame = pd.DataFrame(rows).sort_values(["sample_id", "time_id"]).set_index("idx")
    return gpd.GeoDataFrame(frame.astype({"time": "datetime64[ns]"}), geometry="geometry", crs=4326)


@contextmanager
def edited(path: Path) -> Iterator[dict[str, bytes]]:
    """The entries of a zip, packed again afterwards."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    yield entries
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)


def change_array(
    path: Path,
    name: str,
    change: Callable[[NDArray[Any]], Any],
    *,
    dims: Sequence[str] | None = None,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Replace an array by what `change` makes of its stored values, which may have another shape and dtype."""
    with edited(path) as entries:
        held = {key: default_buffer_prototype().buffer.from_bytes(value) for key, value in entries.items()}
        group = zarr.open_group(MemoryStore(held), mode="r+", zarr_format=2, use_consolidated=False)
        before: Any = group[name]
        kept = {**before.attrs.asdict(), **({"_ARRAY_DIMENSIONS": list(dims)} if dims else {}), **(attributes or {})}
        values = np.asarray(change(before[...]))
        chunks = before.chunks if values.ndim == before.ndim else values.shape
        del group[name]
        group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, attributes=kept,
            fill_value=np.nan if values.dtype.kind == "f" else None, config={"write_empty_chunks": True},
        )[...] = values  # fmt: skip
        zarr.consolidate_metadata(group.store, zarr_format=2)
        entries.clear()
        entries.update({key: value.to_bytes() for key, value in held.items()})


def tree_bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
