"""Golden metadata of the canonical layout: what a small shard of each modality has in its zip and says of its arrays.

Run from the project's root after a wanted change of the layout, and review the difference:

    .venv/bin/python -m tests.golden.regenerate
"""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.assemble import CLOUD_MASK_MODALITIES, band_attributes
from pipeline.layouts.ssl4eo import NO_TIME, ShardContent, write_shard
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES

from . import seasonal

FOLDER = Path(__file__).parent
NAMES = load_recipe("landslides").modalities
SAMPLES = ("0000001", "0000002")
SIZE = 8
FILE_IDS = {
    "S2L2A": "20230810T095031_20230810T095630_T33TVM",
    "S1": "S1A_IW_GRDH_1SDV_20230811T165012_20230811T165037_049834_05FE5A_0123",
    "DEM": "Copernicus_DSM_COG_10_N46_00_E015_00_DEM",
    "LABELS": "",
}


def small_content(name: str) -> ShardContent:
    """Two samples of 8 px, both dates of the first and none of the second one's last there."""
    modality = MODALITIES[name]
    times = 2 if modality.is_series else 1
    shape = (len(SAMPLES), times, len(modality.bands), SIZE, SIZE)
    file_ids = np.full(shape[:2], FILE_IDS[modality.product])
    moments = np.full(shape[:2], np.datetime64("2023-08-10T09:50:31", "ns"))
    moments[:, -1] += np.timedelta64(5, "D")
    file_ids[-1, -1], moments[-1, -1] = "", NO_TIME
    steps = np.arange(SIZE) * 10.0 + 5.0
    return ShardContent(
        bands=np.zeros(shape, np.dtype(modality.dtype)),
        band_names=modality.band_names,
        sample_ids=SAMPLES,
        file_ids=file_ids,
        times=moments,
        epsg=np.array([32633, 32733], np.int64),
        lon=np.array([15.0, 15.5]),
        lat=np.array([46.0, -46.0]),
        eastings=np.stack([500_000.0 + steps, 540_000.0 + steps]),
        northings=np.stack([5_100_000.0 - steps, 4_900_000.0 - steps]),
        cloud_mask=np.zeros((*shape[:2], SIZE, SIZE), np.uint8) if name in CLOUD_MASK_MODALITIES else None,
        band_attributes=band_attributes(modality, load_recipe("landslides")),
        attributes={"layout": "ssl4eo-s12-v1.1", "recipe": "landslides", "modality": name},
    )


def describe(shard: Path) -> dict[str, Any]:
    """Return the zip's entries and the consolidated metadata of one file."""
    with zipfile.ZipFile(shard) as archive:
        return {"entries": archive.namelist(), ".zmetadata": json.loads(archive.read(".zmetadata"))}


def golden_file(name: str) -> Path:
    """Return where the golden metadata of a modality lies."""
    return FOLDER / f"{name}.json"


def main() -> None:
    """Write the golden metadata of every modality, those of the recipe ssl4eo-s12 with them."""
    seasonal.main()
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            shard = Path(folder) / f"{name}.zarr.zip"
            write_shard(shard, small_content(name))
            golden_file(name).write_text(json.dumps(describe(shard), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
