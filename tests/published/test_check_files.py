"""Every way to break a chunk file is named in one line, and nothing is changed on disk."""

import numpy as np
import pytest
from support.broken_files import (
    FIRST,
    SECOND,
    Break,
    array,
    at,
    compress,
    copy_array,
    damage,
    describe_badly,
    drop,
    fewer_bands,
    fewer_samples,
    fill,
    garble,
    lines,
    matches,
    nest,
    other_order,
    other_samples,
    put,
    remove_array,
    repeat,
    swap_first_two,
    truncate,
)
from support.chunk_files import tree_bytes

FILE_FAULTS: dict[str, tuple[Break, str]] = {
    "truncated": (truncate, f"{at()}: is not a whole zip: File is not a zip file"),
    "empty": (lambda root: (root / at()).write_bytes(b""), f"{at()}: is not a whole zip: File is not a zip file"),
    "damaged": (damage, f"{at()}: cannot be read: Bad CRC-32 for file 'bands/0.1.0.0.0'"),
    "garbled": (garble, f"{at()}: cannot be read: *"),
    "repeated": (repeat, f"{at()}: holds 1 entries twice (first: bands/0.1.0.0.0)"),
    "compressed": (compress, f"{at()}: has * compressed zip entries (first: .zattrs); the layout stores them"),
    "nested": (nest, f"{at()}: holds no Zarr v2 group at its top (.zgroup)"),
    "undescribed": (describe_badly, f"{at()}: entry crs/.zarray describes no array"),
    "unconsolidated": (drop(".zmetadata"), f"{at()}: has no consolidated metadata (.zmetadata)"),
    "stale": (
        drop("crs/.zarray"),
        f"{at()}: has consolidated metadata that differs from 1 entries (first: crs/.zarray)",
    ),
    "no chunk": (drop("cloud_mask/0.2.0.0"), f"{at()}: lacks 1 chunks (first: cloud_mask/0.2.0.0): readers make *"),
    "no label chunk": (drop("file_id/0.0"), f"{at()}: lacks 1 chunks (first: file_id/0.0): readers make *"),
    "no variable": (lambda root: remove_array(root / at(), "crs"), f"{at()}: has no variable crs"),
    "label dims": (
        array("crs", lambda values: values, dims=["place"]),
        f"{at()}: crs has dims (place), expected (sample)",
    ),
    "dims": (
        array("bands", lambda values: values, dims=["sample", "band", "time", "y", "x"]),
        f"{at()}: band has size 4 in bands, but 12 in band",
    ),
    "bands dtype": (
        array("bands", lambda values: values.astype("uint16")),
        f"{at()}: bands is uint16, expected int16",
    ),
    "radar dtype": (
        array("bands", lambda values: values.astype("float32"), "S1GRD"),
        f"{at('S1GRD')}: bands is float32, expected float16",
    ),
    "label dtype": (
        array("x_", lambda values: values.astype("float32")),
        f"{at()}: x_ is float32, expected float64",
    ),
    "masking": (fill, f"{at()}: bands carries _FillValue: readers would change its dtype"),
    "index": (array("x", lambda values: values + 1), f"{at()}: x is not 0, 1, 2 and so on"),
    "dims and sizes": (
        array("center_lat", lambda values: values, dims=["y"]),
        f"{at()}: y has size 3 in center_lat, but 6 in bands",
    ),
    "undescribed dims": (
        array("center_lat", lambda values: values, dims=["sample", "time"]),
        f"{at()}: center_lat has 1 dims, but names 2 (_ARRAY_DIMENSIONS)",
    ),
    "unknown variable": (
        lambda root: copy_array(root / at(), "crs", "zone"),
        f"{at()}: has a variable zone that the layout does not know",
    ),
    "mask": (
        lambda root: copy_array(root / at("S1GRD"), "crs", "cloud_mask"),
        f"{at('S1GRD')}: has a variable cloud_mask that the layout does not know",
    ),
    "no mask": (
        lambda root: remove_array(root / at(), "cloud_mask"),
        f"{at()}: has no variable cloud_mask",
    ),
    "band order": (
        array("band", lambda values: values[::-1], "S1GRD"),
        f"{at('S1GRD')}: bands are vh, vv, expected vv, vh, or some of them in this order",
    ),
    "picture band order": (
        array("band", lambda values: values[::-1], "S2RGB"),
        f"{at('S2RGB')}: bands are B02, B03, B04, expected B04, B03, B02, or some of them in this order",
    ),
    "sample_id": (
        array("sample_id", put((1, 2), "0060573_3")),
        f"{at()}: sample_id is not {{sample}}_{{time}} for 1 images (first: 0060573_3, expected 0060573_2)",
    ),
    "optical time": (
        array("time_", lambda values: values + put((0, 1), 86_400 * 10**9)(np.zeros_like(values)), "S2L1C"),
        f"{at('S2L1C')}: time_ is not the time in file_id for 1 images (first: 0080717_1: 2020-04-20T09:40:31, "
        "expected 2020-04-19T09:40:31)",
    ),
    "radar time": (
        array("time_", put((0, 3), np.iinfo("int64").min), "S1GRD"),
        f"{at('S1GRD')}: time_ is not the time in file_id for 1 images (first: 0080717_3: none, "
        "expected 2020-10-12T05:00:04)",
    ),
    "falling": (
        lambda root: swap_first_two(root / at("S2RGB")),
        f"{at('S2RGB')}: time_ does not ascend in 3 samples (first: 0080717)",
    ),
    "foreign name": (
        array("file_id", put((0, 0), "S2A_33SWC_20200120_0_L2A"), "S2L1C"),
        f"{at('S2L1C')}: file_id names no product of v1.1's form for 1 images "
        "(first: 0080717_0: S2A_33SWC_20200120_0_L2A)",
    ),
    "zone": (
        array("file_id", lambda values: np.char.replace(values, "T33SWC", "T32SPJ")),
        f"{at()}: crs is not the zone of most of the sample's tiles for 3 samples "
        "(first: 0080717: 32633, expected 32632)",
    ),
    "no zone": (
        array("crs", put(0, 4326), "S2RGB"),
        f"{at('S2RGB')}: crs is no UTM zone (326zz or 327zz) in 1 samples (first: 0080717: 4326)",
    ),
    "spacing": (
        array("x_", lambda values: values * 2 - values[:, :1], "S2RGB"),
        f"{at('S2RGB')}: x_ does not rise by 10 m a pixel in 3 samples (first: 0080717)",
    ),
    "north-up": (
        array("y_", lambda values: values[:, ::-1], "S2RGB"),
        f"{at('S2RGB')}: y_ does not fall by 10 m a pixel in 3 samples (first: 0080717)",
    ),
    "shifted": (
        array("y_", put(1, np.arange(4_000_055.0, 4_000_000, -10)), "S2RGB"),
        f"{at('S2RGB')}: center_lon, center_lat are not the middle of x_ and y_ in 1 samples "
        "(first: 0060573: 15.95*, 38.08*)",
    ),
    "swapped": (
        array("center_lat", put(0, 15.9), "S2RGB"),
        f"{at('S2RGB')}: center_lat differs from S2L2A in 1 samples (first: 0080717)",
    ),
    "other samples": (
        other_samples,
        f"{at('S2RGB')}: has other samples than S2L2A (first at position 2: 0000174, there 0000173)",
    ),
    "other order": (
        other_order,
        f"{at('S2RGB')}: has the samples in another order than S2L2A (first at position 0: 0060573, there 0080717)",
    ),
    "other sizes": (
        fewer_samples,
        f"{at('S2RGB')}: has sizes sample 2, time 4, y 6, x 6, but S2L2A has sample 3, time 4, y 6, x 6",
    ),
    "other bands": (
        fewer_bands,
        f"{at(name=SECOND)}: has bands B01, * B11, B12, but {at()} B01, * B09, B11",
    ),
    "cloud class": (
        array("cloud_mask", put((1, 2, 3, 3), 7)),
        f"{at()}: cloud_mask holds classes other than 0 to 6 in 1 images (first: 0060573_2)",
    ),
    "infinite": (
        array("bands", put((2, 3, 1, 0, 0), -np.inf), "S1GRD"),
        f"{at('S1GRD')}: bands holds infinite values in 1 images (first: 0000173_3)",
    ),
    "no file": (
        lambda root: (root / at("S1GRD")).unlink(),
        f"train/S1GRD: lacks 1 files of other modalities (first: {FIRST})",
    ),
}


ALONE = {
    "truncated", "damaged", "repeated", "compressed", "unconsolidated", "no chunk", "bands dtype", "radar dtype",
    "index", "sample_id", "optical time", "radar time", "falling", "foreign name", "other samples", "other order",
    "other sizes", "cloud class", "infinite", "no file",
}  # fmt: skip
"""Faults without consequences elsewhere."""


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_every_fault_of_a_file_is_named_in_one_line(folder, fault):
    break_it, expected = FILE_FAULTS[fault]
    break_it(folder)
    before = tree_bytes(folder)
    found = lines(folder)
    assert [line for line in found if matches(line, expected)], found
    assert len(found) == 1 or fault not in ALONE
    assert all("\n" not in line for line in found)
    assert tree_bytes(folder) == before
