"""A whole dataset has no findings; every way to break one is named in one line."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from support.orders import Order, tree_digest

from pipeline.cli import main
from pipeline.errors import LayoutError
from pipeline.validate import validate

pytest_plugins = ["support.fixtures"]

Break = Callable[[Path], None]

EPOCH = (1980, 1, 1, 0, 0, 0)
S2_NODATA = -32768


def shard_of(root: Path, modality: str) -> Path:
    return root / "all" / modality / "landslides_all_000001.zarr.zip"


def receipt_of(root: Path, modality: str) -> Path:
    return root / "receipts" / "all" / modality / "landslides_all_000001.json"


class Store:
    """One unpacked shard: its zip entries, and the arrays that they encode; Zarr v2 by hand."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.entries = {name: archive.read(name) for name in archive.namelist()}

    def document(self, name: str) -> Any:
        return json.loads(self.entries[name])

    def describe(self, name: str, **changes: Any) -> None:
        """Change an array's or attributes' document, here and in the consolidated metadata."""
        consolidated = self.document(".zmetadata")
        document = {**self.document(name), **changes}
        self.entries[name] = json.dumps(document).encode()
        consolidated["metadata"][name] = document
        self.entries[".zmetadata"] = json.dumps(consolidated).encode()

    def read(self, name: str) -> NDArray[Any]:
        described = self.document(f"{name}/.zarray")
        values = np.empty(described["shape"], np.dtype(described["dtype"]))
        codec = numcodecs.get_codec(described["compressor"])
        for key, place in self._chunks(name):
            chunk = np.frombuffer(codec.decode(self.entries[key]), values.dtype)
            values[place] = chunk.reshape(values[place].shape)
        return values

    def write(self, name: str, values: NDArray[Any]) -> None:
        described = self.document(f"{name}/.zarray")
        if described["chunks"] == described["shape"]:
            self.describe(f"{name}/.zarray", chunks=list(values.shape))
        self.describe(f"{name}/.zarray", dtype=values.dtype.str, shape=list(values.shape))
        codec = numcodecs.get_codec(self.document(f"{name}/.zarray")["compressor"])
        for key, place in self._chunks(name):
            self.entries[key] = bytes(codec.encode(np.ascontiguousarray(values[place])))

    def remove(self, name: str) -> None:
        consolidated = self.document(".zmetadata")
        self.entries = {key: value for key, value in self.entries.items() if not key.startswith(f"{name}/")}
        kept = {key: value for key, value in consolidated["metadata"].items() if not key.startswith(f"{name}/")}
        self.entries[".zmetadata"] = json.dumps({**consolidated, "metadata": kept}).encode()

    def copy(self, name: str, to: str) -> None:
        consolidated = self.document(".zmetadata")
        for key in [key for key in self.entries if key.startswith(f"{name}/")]:
            self.entries[key.replace(name, to, 1)] = self.entries[key]
        for key in (".zarray", ".zattrs"):
            consolidated["metadata"][f"{to}/{key}"] = consolidated["metadata"][f"{name}/{key}"]
        self.entries[".zmetadata"] = json.dumps(consolidated).encode()

    def _chunks(self, name: str) -> Iterator[tuple[str, tuple[slice, ...]]]:
        described = self.document(f"{name}/.zarray")
        steps = described["chunks"]
        counts = [-(-size // step) for size, step in zip(described["shape"], steps, strict=True)]
        for index in np.ndindex(*counts):
            place = tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, steps, strict=True))
            yield f"{name}/{'.'.join(map(str, index))}", place


@contextmanager
def rewritten(root: Path, modality: str = "S2L2A") -> Iterator[Store]:
    """Unpack a shard, and pack what was changed so that its receipt's checksum fits again."""
    path = shard_of(root, modality)
    store = Store(path)
    yield store
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(store.entries):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), store.entries[name])
    fit_receipt(root, modality)


def fit_receipt(root: Path, modality: str = "S2L2A") -> None:
    content = shard_of(root, modality).read_bytes()
    change_receipt(root, modality, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def change_receipt(root: Path, modality: str = "S2L2A", **changes: Any) -> None:
    path = receipt_of(root, modality)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_array(root: Path, name: str, change: Callable[[NDArray[Any]], Any], modality: str = "S2L2A") -> None:
    """Change an array in place, or replace it by what `change` returns."""
    with rewritten(root, modality) as store:
        values = store.read(name)
        changed = change(values)
        store.write(name, values if changed is None else changed)


def change_table(path: Path, change: Callable[[Any], Any]) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


# What each of these breaks is its name.


def shard_missing(root: Path) -> None:
    shard_of(root, "S2L2A").unlink()


def zip_truncated(root: Path) -> None:
    path = shard_of(root, "S2L2A")
    path.write_bytes(path.read_bytes()[:-1000])
    fit_receipt(root)


def zip_byte_flipped(root: Path) -> None:
    path = shard_of(root, "S2L2A")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    fit_receipt(root)


def entry_twice(root: Path) -> None:
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(shard_of(root, "S2L2A"), "a") as archive,
    ):
        archive.writestr(zipfile.ZipInfo("bands/.zarray", EPOCH), archive.read("bands/.zarray"))
    fit_receipt(root)


def entries_compressed(root: Path) -> None:
    path = shard_of(root, "S2L2A")
    entries = Store(path).entries
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    fit_receipt(root)


def entries_dated_today(root: Path) -> None:
    path = shard_of(root, "S2L2A")
    entries = Store(path).entries
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 5, 1, 12, 0, 0)), content)
    fit_receipt(root)


def entries_unsorted(root: Path) -> None:
    path = shard_of(root, "S2L2A")
    entries = Store(path).entries
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries, reverse=True):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), entries[name])
    fit_receipt(root)


def entry_that_belongs_to_no_array(root: Path) -> None:
    with rewritten(root) as store:
        store.entries["notes.txt"] = b"hello"


def chunk_missing(root: Path) -> None:
    with rewritten(root) as store:
        del store.entries["bands/1.2.0.0.0"]


def mask_chunk_missing(root: Path) -> None:
    with rewritten(root) as store:
        del store.entries["cloud_mask/0.0.0.0"]


def time_chunk_missing(root: Path) -> None:
    with rewritten(root) as store:
        del store.entries["time_/0.0"]


def chunk_garbled(root: Path) -> None:
    with rewritten(root) as store:
        store.entries["bands/0.1.0.0.0"] = b"not blosc" * 40


def metadata_not_consolidated(root: Path) -> None:
    with rewritten(root) as store:
        kept = {name: content for name, content in store.entries.items() if name != ".zmetadata"}
    path = shard_of(root, "S2L2A")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(kept.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content)
    fit_receipt(root)


def codec_other(root: Path) -> None:
    with rewritten(root) as store:
        values = store.read("bands")
        store.describe("bands/.zarray", compressor={**numcodecs.Blosc("lz4", 5, 1).get_config()})
        store.write("bands", values)


def chunks_other(root: Path) -> None:
    with rewritten(root) as store:
        values = store.read("bands")
        codec = numcodecs.get_codec(store.document("bands/.zarray")["compressor"])
        for key in [key for key in store.entries if key.startswith("bands/") and "/." not in key]:
            store.entries[key] = b""
        store.describe("bands/.zarray", chunks=[len(values), 1, *values.shape[2:]])
        for step in range(values.shape[1]):
            store.entries[f"bands/0.{step}.0.0.0"] = bytes(codec.encode(np.ascontiguousarray(values[:, step])))


def bands_as_float(root: Path) -> None:
    change_array(root, "bands", lambda values: values.astype(np.float32))


def cloud_mask_as_int16(root: Path) -> None:
    change_array(root, "cloud_mask", lambda values: values.astype(np.int16))


def dims_renamed(root: Path) -> None:
    with rewritten(root) as store:
        store.describe("bands/.zattrs", _ARRAY_DIMENSIONS=["sample", "time", "band", "lat", "lon"])


def variable_missing(root: Path) -> None:
    with rewritten(root) as store:
        store.remove("center_lat")


def variable_unknown(root: Path) -> None:
    with rewritten(root) as store:
        store.copy("center_lat", "center_height")


def samples_swapped(root: Path) -> None:
    with rewritten(root) as store:
        for name in ("bands", "cloud_mask", "sample", "sample_id", "file_id", "time_", "x_", "y_", "crs"):
            store.write(name, store.read(name)[[1, 0, *range(2, store.read(name).shape[0])]])


def pixels_of_two_samples_swapped(root: Path) -> None:
    change_array(root, "bands", lambda values: values[[1, 0, *range(2, len(values))]])


def one_pixel_changed(root: Path) -> None:
    def brighten(values: NDArray[Any]) -> None:
        values[0, 0, 0, 5, 5] = 12_345

    change_array(root, "bands", brighten)


def last_sample_dropped(root: Path) -> None:
    with rewritten(root) as store:
        names = {name.split("/")[0] for name in store.entries if "/" in name} - {"band", "time", "x", "y"}
        for name in names:
            store.write(name, store.read(name)[:-1])


def bands_swapped(root: Path) -> None:
    change_array(root, "band", lambda values: values[::-1])


def times_swapped(root: Path) -> None:
    change_array(root, "time_", lambda values: values[:, ::-1])


def time_lost(root: Path) -> None:
    def lose(values: NDArray[Any]) -> None:
        values[0, 1] = np.iinfo(np.int64).min

    change_array(root, "time_", lose)


def file_id_changed(root: Path) -> None:
    def rename(values: NDArray[Any]) -> None:
        values[0, 0] = "20220101T000000_20220101T000000_T01ABC"

    change_array(root, "file_id", rename)


def sample_id_changed(root: Path) -> None:
    change_array(root, "sample_id", lambda values: values[:, ::-1])


def eastings_shifted(root: Path) -> None:
    change_array(root, "x_", lambda values: values + 5.0)


def northings_rising(root: Path) -> None:
    change_array(root, "y_", lambda values: values[:, ::-1])


def zone_changed(root: Path) -> None:
    change_array(root, "crs", lambda values: values - 1, "DEM")


def centre_moved(root: Path) -> None:
    change_array(root, "center_lon", lambda values: values + 0.001)


def offset_attribute_changed(root: Path) -> None:
    with rewritten(root) as store:
        store.describe("bands/.zattrs", offset=1000)


def unit_attribute_changed(root: Path) -> None:
    with rewritten(root, "S1ASC") as store:
        store.describe("bands/.zattrs", units="1")


def fill_value_attribute(root: Path) -> None:
    with rewritten(root) as store:
        store.describe("bands/.zattrs", _FillValue=S2_NODATA)


def fill_value_of_the_array(root: Path) -> None:
    with rewritten(root) as store:
        store.describe("bands/.zarray", fill_value=S2_NODATA)


def scale_attribute(root: Path) -> None:
    with rewritten(root) as store:
        store.describe("bands/.zattrs", scale_factor=0.0001)


def cloud_class_nine(root: Path) -> None:
    def mark(values: NDArray[Any]) -> None:
        values[2, 1, 3, 4] = 9

    change_array(root, "cloud_mask", mark)


def cloud_class_where_nothing_was_seen(root: Path) -> None:
    with rewritten(root) as store:
        unseen = (store.read("bands") == S2_NODATA).all(axis=2)
        assert unseen.any()
        store.write("cloud_mask", np.where(unseen, 0, store.read("cloud_mask")).astype(np.uint8))


def mask_with_two(root: Path) -> None:
    change_array(root, "bands", lambda values: values * 2, "MASK")


def mask_emptied(root: Path) -> None:
    change_array(root, "bands", np.zeros_like, "MASK")


def mask_moved(root: Path) -> None:
    change_array(root, "bands", lambda values: np.roll(values, 3, axis=-1), "MASK")


def fraction_above_one(root: Path) -> None:
    change_array(root, "bands", lambda values: values * 2, "MASK_FRACTION")


def fraction_lost(root: Path) -> None:
    def lose(values: NDArray[Any]) -> None:
        values[0, 0, 0, 1, 1] = np.nan

    change_array(root, "bands", lose, "MASK_FRACTION")


def fraction_outside_of_the_mask(root: Path) -> None:
    change_array(root, "bands", lambda values: np.roll(values, 3, axis=-1), "MASK_FRACTION")


def fraction_is_the_mask(root: Path) -> None:
    change_array(root, "bands", lambda values: (values > 0).astype(np.float32), "MASK_FRACTION")


def series_with_two(root: Path) -> None:
    change_array(root, "bands", lambda values: np.where(values == 1, 2, values).astype(np.uint8), "MASK_SERIES")


def series_static(root: Path) -> None:
    change_array(root, "bands", lambda values: values[:, [1, 1, *range(2, values.shape[1])]], "MASK_SERIES")


def series_receipt_without_a_patch(root: Path) -> None:
    patches = json.loads(receipt_of(root, "MASK_SERIES").read_text())["patches"]
    change_receipt(root, "MASK_SERIES", patches=patches[1:])


def series_uncertain(root: Path) -> None:
    change_array(root, "bands", lambda values: np.full_like(values, 255), "MASK_SERIES")


def frame_blanked(root: Path) -> None:
    def blank(values: NDArray[Any]) -> None:
        values[0, 1] = np.nan

    change_array(root, "bands", blank, "S1ASC")


def frame_filled(root: Path) -> None:
    def fill(values: NDArray[Any]) -> None:
        values[np.isnan(values).all(axis=(2, 3, 4))] = -10.0

    change_array(root, "bands", fill, "S1DSC")


def elevation_infinite(root: Path) -> None:
    def raise_(values: NDArray[Any]) -> None:
        values[0, 0, 0, 7, 7] = np.inf

    change_array(root, "bands", raise_, "DEM")


def shard_of_another_pass(root: Path) -> None:
    shutil.copyfile(shard_of(root, "S1DSC"), shard_of(root, "S1ASC"))
    fit_receipt(root, "S1ASC")


def receipt_missing(root: Path) -> None:
    receipt_of(root, "S2L2A").unlink()


def receipt_damaged(root: Path) -> None:
    path = receipt_of(root, "S2L2A")
    path.write_bytes(path.read_bytes()[:-100])


def receipt_of_another_file(root: Path) -> None:
    change_receipt(root, sha256="0" * 64)


def receipt_of_another_plan(root: Path) -> None:
    change_receipt(root, plan_digest="0" * 64)


def receipt_unfinished(root: Path) -> None:
    change_receipt(root, state="unfinished", error="HTTP 503")


def receipt_without_a_patch(root: Path) -> None:
    patches = json.loads(receipt_of(root, "S2L2A").read_text())["patches"]
    change_receipt(root, patches=patches[1:])


def ledger_row_removed(root: Path) -> None:
    change_table(root / "ledger.parquet", lambda table: table.slice(1))


def ledger_missing(root: Path) -> None:
    (root / "ledger.parquet").unlink()


def labels_row_removed(root: Path) -> None:
    change_table(root / "labels.parquet", lambda table: table.slice(1))


def labels_missing(root: Path) -> None:
    (root / "labels.parquet").unlink()


def labels_step_changed(root: Path) -> None:
    def shift(table: Any) -> Any:
        steps = table["before_S2L2A"].to_numpy() + 1
        return table.set_column(table.column_names.index("before_S2L2A"), "before_S2L2A", [steps])

    change_table(root / "labels.parquet", shift)


def labels_column_missing(root: Path) -> None:
    change_table(root / "labels.parquet", lambda table: table.drop_columns("area"))


def frames_row_twice(root: Path) -> None:
    change_table(root / "frames.parquet", lambda table: table.take([*range(table.num_rows), table.num_rows - 1]))


def frames_offset_changed(root: Path) -> None:
    def forget(table: Any) -> Any:
        index = table.column_names.index("offset")
        return table.set_column(index, table.schema.field("offset"), [np.zeros(table.num_rows, np.int64)])

    change_table(root / "frames.parquet", forget)


def frames_damaged(root: Path) -> None:
    path = root / "frames.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def metadata_columns_reordered(root: Path) -> None:
    path = root / "metadata" / "all_metadata.parquet"
    change_table(path, lambda table: table.select(["time_id", "sample_id", *table.column_names[2:]]))


def metadata_row_removed(root: Path) -> None:
    change_table(root / "metadata" / "all_metadata.parquet", lambda table: table.slice(1))


def metadata_time_changed(root: Path) -> None:
    def shift(table: Any) -> Any:
        times = table["time"].to_numpy() + np.timedelta64(1, "D")
        return table.set_column(2, table.schema.field("time"), [times])

    change_table(root / "metadata" / "all_metadata.parquet", shift)


def metadata_missing(root: Path) -> None:
    (root / "metadata" / "all_metadata.parquet").unlink()


def statistics_edited(root: Path) -> None:
    path = root / "statistics.json"
    held = json.loads(path.read_text())
    held["DEM"]["DEM"]["mean"] += 1.0
    path.write_text(json.dumps(held))


def statistics_missing(root: Path) -> None:
    (root / "statistics.json").unlink()


def recipe_edited(root: Path) -> None:
    path = root / "recipe.yaml"
    path.write_text(path.read_text().replace("max_cloud: 0.25", "max_cloud: 0.9"))


def recipe_misspelt(root: Path) -> None:
    path = root / "recipe.yaml"
    path.write_text(path.read_text().replace("max_cloud:", "max_clouds:"))


def provenance_missing(root: Path) -> None:
    (root / "provenance.json").unlink()


def card_missing(root: Path) -> None:
    (root / "README.md").unlink()


def stray_file(root: Path) -> None:
    shutil.copyfile(shard_of(root, "DEM"), root / "all" / "DEM" / "landslides_all_000099.zarr.zip")


def leftover_of_a_kill(root: Path) -> None:
    (root / "all" / "DEM" / ".landslides_all_000001.zarr.zip.4711.tmp").write_bytes(b"PK")


def leftover_beside_the_tables(root: Path) -> None:
    (root / ".ledger.parquet.tmp").write_bytes(b"PAR1")


def plan_truncated(root: Path) -> None:
    path = root / "plan.parquet"
    path.write_bytes(path.read_bytes()[:-200])


def plan_row_removed(root: Path) -> None:
    change_table(root / "plan.parquet", lambda table: table.slice(1))


def plan_row_twice(root: Path) -> None:
    change_table(root / "plan.parquet", lambda table: table.take([0, *range(table.num_rows)]))


def plan_column_missing(root: Path) -> None:
    change_table(root / "plan.parquet", lambda table: table.drop_columns("reason"))


def plan_column_of_bytes(root: Path) -> None:
    def as_bytes(table: Any) -> Any:
        at = table.column_names.index("first_fault")
        return table.set_column(at, "first_fault", table["first_fault"].cast("binary"))

    change_table(root / "plan.parquet", as_bytes)


def plan_column_of_numbers(root: Path) -> None:
    def as_numbers(table: Any) -> Any:
        at = table.column_names.index("alternates")
        return table.set_column(at, "alternates", pa.array([0] * table.num_rows))

    change_table(root / "plan.parquet", as_numbers)


def frames_text_damaged(root: Path) -> None:
    damage_text(root / "frames.parquet", "file_id")


def plan_text_damaged(root: Path) -> None:
    damage_text(root / "plan.parquet", "shard")


def damage_text(path: Path, column: str) -> None:
    def damaged(table: Any) -> Any:
        at = table.column_names.index(column)
        values = pa.array([b"\xec\xff"] * table.num_rows, pa.binary())
        return table.set_column(at, column, pa.StringArray.from_buffers(len(values), *values.buffers()[1:]))

    change_table(path, damaged)


def plan_files_missing(root: Path) -> None:
    change_table(root / "plan.parquet", lambda table: table.drop_columns("shard"))


def sample_removed(root: Path) -> None:
    change_table(root / "samples.parquet", lambda table: table.slice(1))


def survey_missing(root: Path) -> None:
    (root / "survey.parquet").unlink()


SHARD = "all/S2L2A/landslides_all_000001.zarr.zip"
RECEIPT = "receipts/all/S2L2A/landslides_all_000001.json"

CASES: list[tuple[Break, str]] = [
    (shard_missing, f"{SHARD}: is missing"),
    (zip_truncated, f"{SHARD}: is not a whole zip"),
    (zip_byte_flipped, f"{SHARD}: entry bands/"),
    (entry_twice, f"{SHARD}: holds 1 entries twice (first: bands/.zarray)"),
    (entries_compressed, f"{SHARD}: has compressed zip entries"),
    (entries_dated_today, "zip entries that are not dated 1980-01-01"),
    (entries_unsorted, f"{SHARD}: has zip entries that are not in the order of their names"),
    (entry_that_belongs_to_no_array, f"{SHARD}: holds 1 entries that belong to no array (first: notes.txt)"),
    (chunk_missing, f"{SHARD}: lacks 1 chunks (first: bands/1.2.0.0.0)"),
    (mask_chunk_missing, f"{SHARD}: lacks 1 chunks (first: cloud_mask/0.0.0.0)"),
    (time_chunk_missing, f"{SHARD}: lacks 1 chunks (first: time_/0.0)"),
    (chunk_garbled, f"{SHARD}: cannot be read"),
    (metadata_not_consolidated, f"{SHARD}: has no consolidated metadata"),
    (codec_other, f"{SHARD}: bands is compressed by {{'id': 'blosc', 'cname': 'lz4'"),
    (chunks_other, f"{SHARD}: bands has chunks"),
    (bands_as_float, f"{SHARD}: bands is float32, expected int16"),
    (cloud_mask_as_int16, f"{SHARD}: cloud_mask is int16, expected u1"),
    (dims_renamed, f"{SHARD}: bands has dims"),
    (variable_missing, f"{SHARD}: has no variable center_lat"),
    (variable_unknown, f"{SHARD}: has a variable center_height"),
    (samples_swapped, f"{SHARD}: samples are not those of the plan, in its order"),
    (pixels_of_two_samples_swapped, "cloud_mask gives a class to pixels without data"),
    (one_pixel_changed, f"{SHARD}: B02: its pixels do not add up"),
    (last_sample_dropped, f"{SHARD}: has sizes"),
    (bands_swapped, f"{SHARD}: bands are"),
    (times_swapped, "time_ is"),
    (time_lost, "time_ is NaT"),
    (file_id_changed, "file_id is"),
    (sample_id_changed, "sample_id is not"),
    (eastings_shifted, "x_ are not the pixel centres"),
    (northings_rising, "y_ are not the pixel centres"),
    (zone_changed, "crs is 32632, expected 32633"),
    (centre_moved, "center_lon"),
    (offset_attribute_changed, "bands attribute offset is 1000, expected 0"),
    (unit_attribute_changed, "bands attribute units is '1', expected 'dB'"),
    (fill_value_attribute, "bands carries _FillValue"),
    (fill_value_of_the_array, "bands carries _FillValue"),
    (scale_attribute, "bands carries scale_factor"),
    (cloud_class_nine, "cloud_mask holds class 9"),
    (cloud_class_where_nothing_was_seen, "cloud_mask gives a class to pixels without data"),
    (mask_with_two, "mask holds 2"),
    (mask_emptied, "mask is empty"),
    (mask_moved, "mask differs from what its events give in "),
    (fraction_above_one, "mask holds "),
    (fraction_lost, "mask holds nan, expected shares from 0 to 1"),
    (fraction_outside_of_the_mask, "mask has a share of a pixel that no polygon touches"),
    (fraction_is_the_mask, "mask differs from what its events give in "),
    (series_with_two, "mask holds 2, expected 0 and 1 and 255"),
    (series_static, "mask differs from what its events give in "),
    (series_receipt_without_a_patch, "MASK_SERIES/landslides_all_000001.zarr.zip: hill_4_0: has data, its receipt"),
    (series_uncertain, "mask differs from what its events give in 1024 pixels"),
    (frame_blanked, "has no data, its receipt says otherwise"),
    (frame_filled, "has data, its receipt says otherwise"),
    (elevation_infinite, "infinite"),
    (shard_of_another_pass, "all/S1ASC/landslides_all_000001.zarr.zip: bands attribute orbit_state"),
    (receipt_missing, f"{SHARD}: has no receipt"),
    (receipt_damaged, f"{RECEIPT}: is damaged"),
    (receipt_of_another_file, f"{SHARD}: is not the file that its receipt describes"),
    (receipt_of_another_plan, f"{SHARD}: was built from another plan"),
    (receipt_unfinished, f"{SHARD}: is unfinished by its receipt (HTTP 503)"),
    (receipt_without_a_patch, "has data, its receipt says otherwise"),
    (ledger_row_removed, "ledger.parquet: is not the union of the receipts: 1 rows differ"),
    (ledger_missing, "ledger.parquet: does not exist"),
    (labels_row_removed, "labels.parquet: is not what plan and receipts make: "),
    (labels_missing, "labels.parquet: does not exist"),
    (labels_step_changed, "labels.parquet: is not what plan and receipts make: "),
    (labels_column_missing, "labels.parquet: columns are ['sample_id', "),
    (frames_row_twice, "frames.parquet: is not what plan and receipts make: 1 rows differ"),
    (frames_offset_changed, "frames.parquet: is not what plan and receipts make: "),
    (frames_damaged, "frames.parquet: is not a whole parquet file"),
    (metadata_columns_reordered, "metadata/all_metadata.parquet: columns begin"),
    (metadata_row_removed, "metadata/all_metadata.parquet: rows are not the images in the files: 1 differ"),
    (metadata_time_changed, "metadata/all_metadata.parquet: rows are not the images in the files: "),
    (metadata_missing, "metadata/all_metadata.parquet: does not exist"),
    (statistics_edited, "statistics.json: is not what the receipts add up to"),
    (statistics_missing, "statistics.json: is absent"),
    (recipe_edited, "was built from another plan or recipe"),
    (recipe_misspelt, "unknown key max_clouds; did you mean max_cloud?"),
    (provenance_missing, "provenance.json: is missing or damaged"),
    (card_missing, "README.md: is missing"),
    (stray_file, "all/DEM/landslides_all_000099.zarr.zip: is in no plan"),
    (leftover_of_a_kill, "all/DEM/.landslides_all_000001.zarr.zip.4711.tmp: is in no plan"),
    (leftover_beside_the_tables, ".ledger.parquet.tmp: is in no plan"),
    (plan_truncated, "plan: plan.parquet is not a whole parquet file"),
    (plan_row_removed, "was built from another plan"),
    (plan_row_twice, "plan.parquet: 1 places are planned twice"),
    (plan_column_missing, "plan: plan.parquet has no column reason"),
    (plan_column_of_bytes, "plan.parquet: columns are ['sample_id', "),
    (plan_column_of_numbers, "column alternates must be a list, got int64"),
    (frames_text_damaged, "frames.parquet: is not a whole parquet file: "),
    (plan_text_damaged, "plan: plan.parquet is not a whole parquet file: "),
    (plan_files_missing, "plan: plan.parquet has no column shard"),
    (sample_removed, "plan"),
    (survey_missing, "plan: survey.parquet does not exist"),
]


def test_a_whole_dataset_has_no_findings(small_dataset: Path) -> None:
    before = tree_digest(small_dataset)
    assert validate(small_dataset) == []
    assert tree_digest(small_dataset) == before


@pytest.mark.parametrize(
    "override",
    [
        "bands.S2L2A=[B02]",
        "max_cloud=0",
        "modalities=[SCL,MASK]",
        "modalities=[S1DSC]",
        "modalities=[S2L2A,S1RTC]",
        "modalities=[DEM,MASK,MASK_FRACTION]",
        "modalities=[S1ASC,MASK_SERIES]",
        "modalities=[S1RTC,MASK_SERIES,S2L2A]",
        "max_missing=0.5",
        "series_length=1",
    ],
)
def test_datasets_of_other_recipes_have_no_findings(small_order: Order, tmp_path: Path, override: str) -> None:
    order = small_order.with_overrides(override)
    assert [str(finding) for finding in validate(order.build(tmp_path / "dataset"))] == []


def test_a_dataset_around_points_has_no_findings(small_order: Order, tmp_path: Path) -> None:
    places = tmp_path / "points.csv"
    places.write_text("id,lon,lat\n007,13.715,46.04\nb,13.72,46.035\n")
    around = replace(small_order, places=places).with_overrides("places.columns.id=id", "places.date=2022-01-24")
    dataset = around.build(tmp_path / "dataset")
    assert [str(finding) for finding in validate(dataset)] == []
    assert pq.read_table(dataset / "samples.parquet")["id"].to_pylist() == ["007", "b"]


@pytest.mark.parametrize(("damage", "text"), [pytest.param(*case, id=case[0].__name__) for case in CASES])
def test_a_broken_dataset_is_named(small_dataset: Path, tmp_path: Path, damage: Break, text: str) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    damage(copy)
    findings = [str(finding) for finding in validate(copy)]
    assert any(text in finding for finding in findings), findings
    # A recipe that was changed is one for every modality.
    assert len(findings) <= 8
    assert all(len(finding.splitlines()) == 1 for finding in findings)


def test_an_unchanged_rewrite_is_no_fault(small_dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    with rewritten(copy) as store:
        store.write("bands", store.read("bands"))
    assert validate(copy) == []


def test_the_command_prints_every_finding_and_says_so_by_its_exit_code(
    small_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(small_dataset, tmp_path / "copy")
    assert main(["validate", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}: 0 findings\n"
    shard_missing(copy)
    receipt_damaged(copy)
    findings = [str(finding) for finding in validate(copy)]
    assert main(["validate", str(copy)]) == 1
    assert capsys.readouterr().out.splitlines() == [*findings, f"{copy}: {len(findings)} findings"]


@pytest.mark.parametrize("content", ["nothing", "a stranger"])
def test_a_folder_that_is_no_dataset_is_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    if content == "a stranger":
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    with pytest.raises(LayoutError):
        validate(folder)
    assert main(["validate", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"sen12: error: {folder}")
    assert len(printed.err.splitlines()) == 1
