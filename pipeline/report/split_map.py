"""A map of a split: every patch on the ground, coloured by where it went."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch as Swatch

from pipeline.records import Sample

COLOURS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677", "buffer": "#dddddd"}
"""Bright scheme of Paul Tol, told apart by colour-blind readers, too."""

LARGEST = 9
"""Regions shown; the ones with most patches."""


def write_split_map(path: Path, samples: Sequence[Sample], split_of: Mapping[str, str]) -> Path:
    """Write a PNG with a panel per region; a sample that `split_of` does not name is left out.

    Parameters
    ----------
    path : Path
        File to write.
    samples : sequence of Sample
        The patches of a dataset.
    split_of : mapping of str to str
        Sample id to train, val, test or buffer.
    """
    figure = draw_split_map(samples, split_of)
    with mpl.rc_context({"savefig.dpi": 110}):
        figure.savefig(path, metadata={"Software": None})
    return path


def draw_split_map(samples: Sequence[Sample], split_of: Mapping[str, str]) -> Figure:
    """Return the figure of `write_split_map`."""
    panels: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        if sample.id in split_of:
            panels.setdefault((sample.region, sample.grid.epsg), []).append(sample)
    largest = sorted(panels, key=lambda key: (-len(panels[key]), key))[:LARGEST]
    columns = max(1, min(3, len(largest)))
    lines = max(1, math.ceil(len(largest) / columns))
    figure = Figure(figsize=(4.2 * columns, 4.2 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for axis, key in zip(axes, largest, strict=False):
        _draw_region(axis, key, panels[key], split_of)
    for axis in axes[len(largest) :]:
        axis.set_axis_off()
    counts = {name: sum(split_of[sample.id] == name for key in largest for sample in panels[key]) for name in COLOURS}
    handles = [Swatch(color=COLOURS[name], label=f"{name} {count}") for name, count in counts.items() if count]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS), frameon=False)
    return figure


def _draw_region(axis: Axes, key: tuple[str, int], samples: Sequence[Sample], split_of: Mapping[str, str]) -> None:
    region, epsg = key
    corners = np.array([_corners(sample) for sample in samples]) / 1000.0
    colours = [COLOURS[split_of[sample.id]] for sample in samples]
    axis.add_collection(PolyCollection(list(corners), facecolors=colours, edgecolors="white", linewidths=0.3))
    axis.autoscale_view()
    axis.set_aspect("equal")
    axis.set_title(f"{region}, EPSG:{epsg}", fontsize=9)
    axis.set_xlabel("easting [km]", fontsize=8)
    axis.set_ylabel("northing [km]", fontsize=8)
    axis.tick_params(labelsize=7)


def _corners(sample: Sample) -> list[tuple[float, float]]:
    left, bottom, right, top = sample.grid.bounds
    return [(left, bottom), (right, bottom), (right, top), (left, top)]
