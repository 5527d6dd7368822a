"""Golden metadata of the modalities of SSL4EO-S12 v1.1: small shards of the recipe ssl4eo-s12, in both stores.

Run from the project's root after a wanted change of the layout, and review the difference:

    .venv/bin/python -m tests.golden.seasonal
"""

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.assemble import CLOUD_MASK_MODALITIES, band_attributes
from pipeline.layouts.ssl4eo import ShardContent, Store, write_shard
from pipeline.recipes import load_recipe
from pipeline.records import MODALITIES

FOLDER = Path(__file__).parent / "ssl4eo-s12"
NAMES = ("S1GRD", "S2L1C", "S2L2A", "S2RGB")
STORES: tuple[Store, ...] = ("chunked", "published")
SAMPLES = ("0080717", "0012333")
DAYS = ("2020-01-20T09:40:31", "2020-04-19T09:40:31", "2020-07-18T09:40:29", "2020-10-16T09:40:31")
S1_FILE_ID = "S1B_IW_GRDH_1SDV_20201127T214646_20201127T214711_024469_02E87B_7A8F"
S2_FILE_ID = "20201116T023001_20201116T022955_T51JWN"


def seasonal_content(name: str, store: Store) -> ShardContent:
    """Two samples at four dates, at the full size of a patch."""
    recipe, modality = load_recipe("ssl4eo-s12"), MODALITIES[name]
    size, frames = recipe.patch_size, (len(SAMPLES), len(DAYS))
    steps = np.arange(size) * 10.0 + 5.0
    return ShardContent(
        bands=np.ones((*frames, len(modality.bands), size, size), np.dtype(modality.dtype)),
        band_names=modality.band_names,
        sample_ids=SAMPLES,
        file_ids=np.full(frames, S1_FILE_ID if modality.product == "S1" else S2_FILE_ID),
        times=np.array([DAYS] * len(SAMPLES), "datetime64[ns]"),
        epsg=np.array([32751, 32738], np.int64),
        lon=np.array([121.4, 43.64]),
        lat=np.array([-30.64, -23.06]),
        eastings=np.stack([340_000.0 + steps, 360_000.0 + steps]),
        northings=np.stack([6_600_000.0 - steps, 7_400_000.0 - steps]),
        cloud_mask=np.zeros((*frames, size, size), np.uint8) if name in CLOUD_MASK_MODALITIES else None,
        band_attributes=band_attributes(modality, recipe),
        attributes={"layout": recipe.layout, "recipe": recipe.name, "modality": name},
        store=store,
    )


def describe(shard: Path) -> dict[str, Any]:
    """Return the zip's entries and the consolidated metadata of one file."""
    with zipfile.ZipFile(shard) as archive:
        return {"entries": archive.namelist(), ".zmetadata": json.loads(archive.read(".zmetadata"))}


def golden_file(name: str, store: Store) -> Path:
    """Return where the golden metadata of a modality lies."""
    return FOLDER / f"{name}.{store}.json"


def main() -> None:
    """Write the golden metadata of every modality in both stores."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            for store in STORES:
                shard = Path(folder) / f"{name}.zarr.zip"
                write_shard(shard, seasonal_content(name, store))
                golden_file(name, store).write_text(json.dumps(describe(shard), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
