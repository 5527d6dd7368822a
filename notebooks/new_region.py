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
# # A dataset for a new region
#
# From an inventory of landslides to patches with a split: every step is looked at before the next one. It runs offline
# on the embedded archive, which is generated, not observed. Each `sen12(...)` is a command that works in a shell, too.

# %%
import os
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipeline import open_shard
from pipeline.archive import write_archive
from pipeline.cli import main


def sen12(*arguments):
    if main([str(argument) for argument in arguments]):
        raise SystemExit(f"sen12 {arguments[0]} failed, see above")


work = Path(os.environ.get("SEN12_WORK", "new-region"))
archive = write_archive(work / "archive")
inventory = archive.inventory

# %% [markdown]
# **The one line to change for a live archive** is the next: `source = "planetary-computer"`. Your own inventory goes
# with it, as `inventory` above, and the days that you look at below.

# %%
source = str(archive.catalog)

# %% [markdown]
# ## The inventory
#
# Polygons in any CRS. Here their dates are thrown away, as if nobody had written them down.

# %%
slides = gpd.read_file(inventory).drop(columns="event_date").assign(event_date=None)
undated = work / "undated.geojson"
slides.to_file(undated, driver="GeoJSON")
print(f"{len(slides)} slides, {slides.to_crs(slides.estimate_utm_crs()).area.median():.0f} m² in the median")

# %% [markdown]
# ## When did they come down?
#
# `sen12 date` follows the vegetation index of each slide against the undisturbed ground around it. The date is an
# interval: after the last clear image without the slide, up to the first clear one with it. The archive holds three
# months only, hence so few observations on each side.

# %%
dated = work / "dated.parquet"
for old in (dated, dated.with_suffix(".ndvi.parquet")):
    old.unlink(missing_ok=True)
when = ["--start", "2021-12-01", "--end", "2022-02-28", "--min-observations", "2"]
sen12("date", "landslides", "--places", undated, "--source", source, "--out", dated, *when)
dates = gpd.read_parquet(dated)
print(dates[["id", "date_from", "date_to", "event_conf", "magnitude", "observations"]].to_string())

# %%
series = pd.read_parquet(dated.with_suffix(".ndvi.parquet")).dropna(subset="ndvi")
slide = dates.dropna(subset="date_from").iloc[0]
shown = series[(series.id == slide.id) & (series.clear > 0.5)].set_index("acquired")
print(shown[["ndvi", "ndvi_undisturbed"]].set_axis(["NDVI on the slide", "around it"], axis=1))
figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
axis.plot(shown.index, shown.ndvi, "o-", color="#ee6677", label="slide")
axis.plot(shown.index, shown.ndvi_undisturbed, "o-", color="#228833", label="undisturbed ground around it")
axis.axvspan(*pd.to_datetime([slide.date_from, slide.date_to], utc=True), color="0.85", label="dated interval")
axis.set(ylabel="NDVI", title=f"{slide.id}: {slide.date_from} to {slide.date_to}")
axis.legend(frameon=False)
figure.savefig(work / "ndvi.png", dpi=110)

# %% [markdown]
# ## The plan
#
# Everything is decided before a spectral pixel is read: which images, for which patch, and why something is missing.

# %%
out = work / "dataset"
size = ["series_length=6", "window.before=60", "window.after=60", "samples_per_shard=8"]
request = ["landslides", "--places", dated, "--source", source, "--out", out]
request += [part for value in size for part in ("--set", value)]
sen12("plan", *request, "--overwrite")
plan = pd.read_parquet(out / "plan.parquet")
planned = plan[plan.choice.notna()]
print(plan.groupby(["modality", "reason"]).size())

# %%
optical = planned[planned.modality == "S2L2A"]
days = pd.to_datetime([choice["acquired"] for choice in optical.choice])
hidden = np.array([choice["bad"] for choice in optical.choice])
rows = pd.factorize(optical.sample_id)[0]
figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
points = axis.scatter(days, rows, c=100 * hidden, cmap="viridis_r", s=22)
axis.axvspan(*pd.to_datetime([slide.date_from, slide.date_to], utc=True), color="0.85", zorder=0)
axis.set(ylabel="patch", title="chosen Sentinel-2 images around the dated interval")
figure.colorbar(points, label="hidden by cloud, shadow or no data [%]")
figure.savefig(work / "plan.png", dpi=110)

# %% [markdown]
# ## One shard
#
# The function that a cluster calls thousands of times, called here once for each modality of the first file.

# %%
from pipeline.assemble import BuildOptions, build_shard
from pipeline.folder import read_recipe
from pipeline.sources import open_source
from pipeline.stages import load_plan, shards_of

recipe, decided = read_recipe(out), load_plan(out)
options = BuildOptions(root=out.resolve(), source=open_source(source, recipe.collections))
first = [shard for shard in shards_of(decided, recipe) if shard.name.endswith("000001")]
for shard in first:
    report = build_shard(shard, recipe, options)
    print(f"{report.path}: {report.state}, {report.bytes / 1e6:.1f} MB, {report.seconds} s")

# %% [markdown]
# ## Before, after, and the mask
#
# `MASK_SERIES` says for each image whether the slide is there; the first image that certainly has it is *after*.

# %%
name = first[0].name
images, masks = (open_shard(out / "all" / folder / f"{name}.zarr.zip") for folder in ("S2L2A", "MASK_SERIES"))
patch = int(np.argmax((masks.bands.values == 1).sum(axis=(1, 2, 3, 4))))
state = masks.bands.values[patch, :, 0]
there = np.flatnonzero((state == 1).any(axis=(1, 2)))
not_yet = np.flatnonzero(((state == 0).all(axis=(1, 2))) & ~np.isnat(images.time_.values[patch]))
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for axis, step, title in zip(axes, (not_yet[-1], there[0]), ("before", "after"), strict=False):
    rgb = images.bands.isel(sample=patch, time=step).sel(band=["B04", "B03", "B02"]).values.astype(float)
    axis.imshow(np.clip(np.moveaxis(rgb, 0, -1) / np.percentile(rgb, 98), 0, 1))
    axis.set_title(f"{title}, {str(images.time_.values[patch, step])[:10]}")
axes[2].imshow(state[there[0]] == 1, cmap="gray")
axes[2].set_title("mask")
for axis in axes:
    axis.set_axis_off()
figure.savefig(work / "before_after.png", dpi=110)
print(f"{masks.sample.values[patch]}: {int((state[there[0]] == 1).sum())} pixels of landslide")

# %% [markdown]
# ## The split
#
# Blocks with a buffer between them, decided by a patch's place alone. This area is small, so are its blocks; the
# default is 25.6 km with 6.4 km. The audit says what test patches still share with train patches.

# %%
sen12("split", out, "--block", 2560, "--buffer", 1280)

# %%
figure, axis = plt.subplots(figsize=(5, 4.5), layout="constrained")
axis.imshow(plt.imread(out / "splits" / "blocks" / "map.png"))
axis.set_axis_off()

# %% [markdown]
# The rest is `sen12 build … --resume`, `sen12 norm`, and `sen12 export DATASET --layout sen12landslides --out FOLDER`.
