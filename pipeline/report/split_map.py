"""A map of a split: every patch on the ground, coloured by where it went."""

import math
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch as Swatch

COLOURS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677", "buffer": "#bbbbbb"}
"""Bright scheme of Paul Tol, told apart by colour-blind readers, too."""

LARGEST = 9
"""Regions shown; the ones with most patches."""

METRES = 1000.0


def write_split_map(path: Path, patches: pd.DataFrame) -> Path:
    """Write `draw_split_map` as a PNG file."""
    figure = draw_split_map(patches)
    with mpl.rc_context({"savefig.dpi": 110}):
        figure.savefig(path, metadata={"Software": None})
    return path


def draw_split_map(patches: pd.DataFrame) -> Figure:
    """Draw a panel for each region and UTM zone.

    Parameters
    ----------
    patches : pandas.DataFrame
        `region`, `epsg`, `easting` and `northing` of the centre [m], `side` [m], and `split`: train, val, test or
        buffer; others are left out.
    """
    shown = patches[patches["split"].isin(COLOURS)]
    regions = sorted(shown.groupby(["region", "epsg"]), key=lambda region: (-len(region[1]), region[0]))[:LARGEST]
    columns = max(1, min(3, len(regions)))
    lines = max(1, math.ceil(len(regions) / columns))
    figure = Figure(figsize=(4.2 * columns, 3.8 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axis in axes[len(regions) :]:
        axis.set_axis_off()
    for axis, ((region, epsg), members) in zip(axes, regions, strict=False):
        _draw_region(axis, f"{region}, EPSG:{epsg}", members)
    counts = shown["split"].value_counts()
    handles = [
        Swatch(color=colour, label=f"{name} {counts[name]}") for name, colour in COLOURS.items() if name in counts
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(COLOURS), frameon=False, fontsize=8, handlelength=1.0,
        columnspacing=1.0,
    )  # fmt: skip
    return figure


def _draw_region(axis: Axes, title: str, patches: pd.DataFrame) -> None:
    squares = []
    for x, y, side in zip(patches["easting"], patches["northing"], patches["side"], strict=True):
        left, bottom, size = (x - side / 2.0) / METRES, (y - side / 2.0) / METRES, side / METRES
        squares.append([(left, bottom), (left + size, bottom), (left + size, bottom + size), (left, bottom + size)])
    colours = [COLOURS[name] for name in patches["split"]]
    axis.add_collection(PolyCollection(squares, facecolors=colours, edgecolors="white", linewidths=0.3))
    axis.autoscale_view()
    axis.set_aspect("equal")
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("easting [km]", fontsize=8)
    axis.set_ylabel("northing [km]", fontsize=8)
    axis.tick_params(labelsize=7)
