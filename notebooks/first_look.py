# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first look at a landslide dataset
#
# Runs offline on the embedded archive, which is generated, not observed. For your own dataset change the next line.

# %%
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from pipeline import open_shard

dataset = Path(os.environ.get("SEN12_DATASET", "demo/dataset"))

# %% [markdown]
# The tables say what is there before any pixel is opened.

# %%
samples = gpd.read_parquet(dataset / "samples.parquet")
ledger = pd.read_parquet(dataset / "ledger.parquet")
print(samples[["id", "is_annotated", "shard", "position"]].head())
print(ledger.groupby(["modality", "state", "reason"]).size())

# %% [markdown]
# One patch: its dates, its cloud, and the vegetation index before and after the event.

# %%
annotated = samples[samples.is_annotated & (samples.shard != "")].iloc[0]
optical = open_shard(dataset / "all" / "S2L2A" / f"{annotated.shard}.zarr.zip").isel(sample=annotated.position)
mask = open_shard(dataset / "all" / "MASK" / f"{annotated.shard}.zarr.zip").isel(sample=annotated.position, time=0)
bands = optical.bands.where(optical.bands != optical.bands.nodata) / 10_000
red, near_infrared = bands.sel(band="B04"), bands.sel(band="B08")
ndvi = (near_infrared - red) / (near_infrared + red)
inside = mask.bands.sel(band="MASK").values == 1
frames = [frame.values[inside] for frame in ndvi]
series = pd.Series(
    [float(np.nanmedian(frame)) if np.isfinite(frame).any() else np.nan for frame in frames],
    index=pd.to_datetime(optical.time_.values),
    name="NDVI on the slide",
)
print(f"event: {annotated.date:%Y-%m-%d}")
print(series.dropna())
