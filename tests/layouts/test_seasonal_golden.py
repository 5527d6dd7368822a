"""The four modalities of SSL4EO-S12 v1.1: their metadata is the golden one, and says what the published files say."""

import json
import zipfile

import pytest
from golden.seasonal import NAMES, STORES, describe, golden_file, seasonal_content

from pipeline.layouts.ssl4eo import write_shard

SERIES = ["sample", "time"]
ARRAYS = {
    "band": (["band"], "<U3"),
    "sample": (["sample"], "<U7"),
    "time": (["time"], "<i8"),
    "x": (["x"], "<i8"),
    "y": (["y"], "<i8"),
    "bands": ([*SERIES, "band", "y", "x"], "<i2"),
    "center_lat": (["sample"], "<f8"),
    "center_lon": (["sample"], "<f8"),
    "crs": (["sample"], "<i8"),
    "file_id": (SERIES, "<U38"),
    "sample_id": (SERIES, "<U9"),
    "time_": (SERIES, "<i8"),
    "x_": (["sample", "x"], "<f8"),
    "y_": (["sample", "y"], "<f8"),
}
"""specs/ssl4eo-s12.md, sections 2.2 and 2.3: dims and stored dtype."""
MASK = {"cloud_mask": ([*SERIES, "y", "x"], "|u1")}
"""Shown beside the published S2L2A; ours stands beside every modality of Sentinel-2."""
OWN = {
    "S1GRD": {"band": (["band"], "<U2"), "bands": (ARRAYS["bands"][0], "<f2"), "file_id": (SERIES, "<U67")},
    "S2L1C": MASK,
    "S2L2A": MASK,
    "S2RGB": {"bands": (ARRAYS["bands"][0], "|u1"), **MASK},
}
BANDS = {"S1GRD": 2, "S2L1C": 13, "S2L2A": 12, "S2RGB": 3}

every_file = pytest.mark.parametrize(("name", "store"), [(name, store) for name in NAMES for store in STORES])


@every_file
def test_the_metadata_is_the_golden_one(tmp_path, name, store):
    shard = tmp_path / "a.zarr.zip"
    write_shard(shard, seasonal_content(name, store))
    assert describe(shard) == json.loads(golden_file(name, store).read_text()), (
        "wanted? python -m tests.golden.regenerate, and review the difference"
    )


@every_file
def test_the_consolidated_metadata_is_that_of_the_entries(tmp_path, name, store):
    shard = tmp_path / "a.zarr.zip"
    write_shard(shard, seasonal_content(name, store))
    with zipfile.ZipFile(shard) as archive:
        documents = {
            entry: json.loads(archive.read(entry))
            for entry in archive.namelist()
            if entry.rsplit("/")[-1] in {".zarray", ".zattrs", ".zgroup"}
        }
    assert describe(shard)[".zmetadata"]["metadata"] == documents


@every_file
def test_names_dims_and_dtypes_are_the_published_ones(name, store):
    documents = json.loads(golden_file(name, store).read_text())[".zmetadata"]["metadata"]
    found = {
        key.removesuffix("/.zarray"): (documents[key.replace(".zarray", ".zattrs")]["_ARRAY_DIMENSIONS"], held["dtype"])
        for key, held in documents.items()
        if key.endswith("/.zarray")
    }
    assert found == ARRAYS | OWN[name]


@every_file
def test_the_encoding_is_what_published_readers_expect(name, store):
    documents = json.loads(golden_file(name, store).read_text())[".zmetadata"]["metadata"]
    samples = 2 if store == "published" else 1
    codec = ("lz4", 5, 1) if store == "published" else ("zstd", 3, 2)
    assert documents["bands/.zarray"]["chunks"] == [samples, 1, BANDS[name], 264, 264]
    for key, held in documents.items():
        if key.endswith("/.zarray"):
            assert held["zarr_format"] == 2
            assert (held["order"], held["filters"], held.get("dimension_separator", ".")) == ("C", None, ".")
            assert held["fill_value"] == ("NaN" if "f" in held["dtype"] else None)
            compressor = held["compressor"]
            assert (compressor["id"], compressor["blocksize"]) == ("blosc", 0)
            assert (compressor["cname"], compressor["clevel"], compressor["shuffle"]) == codec
        if key.endswith("/.zattrs"):
            assert not {"_FillValue", "scale_factor", "add_offset"} & set(held)
    assert documents["time_/.zattrs"]["units"] == "nanoseconds since 1970-01-01"
    assert documents["time_/.zattrs"]["calendar"] == "proleptic_gregorian"
