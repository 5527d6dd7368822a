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
# From an inventory of landslides to a dataset with a split: what each step decides, looked at before the next one.
# Runs offline on the embedded archive, which is generated, not observed.

# %%
import os
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from pipeline.archive import write_archive

work = Path(os.environ.get("SEN12_WORK", "new-region"))
archive = write_archive(work / "archive")
inventory = archive.inventory

# %% [markdown]
# **The one line to change for a live archive** is the next one: `source = "planetary-computer"`. With it goes your own
# inventory, as `inventory` above.

# %%
source = str(archive.catalog)
