"""The preview: a few annotated patches before and after their event, with classes, radar and mask."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.catalog.decided import Decided
from pipeline.layouts.ssl4eo import open_shard
from pipeline.records import S2_NODATA, Sample, Shard

SCL_COLOURS = (
    "#000000", "#ff0000", "#2f2f2f", "#643200", "#00a000", "#ffe65a", "#0000ff", "#808080", "#c0c0c0", "#ffffff",
    "#64c8ff", "#ff96ff",
)  # fmt: skip
"""Colours of classes 0-11 as Sen2Cor's quicklooks have them."""

DPI = 110
PANEL, TITLE, GAP = 256, 44, 8
LARGEST = 2 * PANEL
"""Pixels of the picture: about the edge of a panel, the space for its title and between panels; its longest edge."""

Panel = tuple[str, NDArray[Any], dict[str, Any]]
"""Title, pixels, and how they are coloured; RGB from 0 to 1 as it is."""
Frames = Mapping[str, xr.Dataset]
"""Modality to all times of one patch."""
RADAR = ("S1ASC", "S1DSC", "S1RTC", "S1GRD")


def write_preview(root: Path, decided: Decided, shards: Sequence[Shard], *, patches: int = 3) -> Path | None:
    """Write preview.png: RGB before and after the event, classes, radar and mask of a few annotated patches.

    Returns None when the dataset has no Sentinel-2 patch to show.
    """
    samples = _shown(root, decided, shards, patches)
    frames = _frames(root, shards, samples)
    panels = [(sample, _panels(frames[sample.id], sample)) for sample in samples]
    rows = [(sample, row) for sample, row in panels if row]
    if not rows:
        return None
    path, temporary = root / "preview.png", root / ".preview.png.tmp"
    try:
        _drawn(rows).savefig(temporary, format="png", metadata={"Software": None})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _drawn(rows: Sequence[tuple[Sample, Sequence[Panel]]]) -> Figure:
    """Draw each patch's panels in a row, pixels enlarged by a whole number, under their titles.

    Without axes, whose layout takes longer than building a small dataset.
    """
    edge = max(max(_enlarged(image).shape[:2]) for _, row in rows for _, image, _ in row)
    across, down = edge + GAP, edge + TITLE
    width, height = across * max(len(row) for _, row in rows) + GAP, down * len(rows) + GAP
    picture = np.full((height, width, 4), 255, np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    for line, (sample, row) in enumerate(rows):
        for column, (title, image, options) in enumerate(row):
            top, left = line * down + TITLE, column * across + GAP
            colours = _enlarged(ScalarMappable(**options).to_rgba(image, bytes=True))
            picture[top : top + len(colours), left : left + colours.shape[1]] = colours
            text = f"{sample.id}\n{title}" if column == 0 else title
            place = (left + edge / 2) / width, 1.0 - (top - 4) / height
            figure.text(*place, text, fontsize=8, ha="center", va="bottom", parse_math=False)
    figure.figimage(picture, origin="upper")
    return figure


def _enlarged(image: NDArray[Any]) -> NDArray[Any]:
    step = -(-max(image.shape[:2]) // LARGEST)
    image = image[::step, ::step]
    times = max(1, PANEL // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def shown_files(decided: Decided, shards: Sequence[Shard], *, patches: int = 3) -> list[str]:
    """Return the files, by path in the dataset, that `write_preview` reads."""
    shown = {sample.id for sample in _candidates(decided, shards)[:patches]}
    return [shard.path for shard in shards if any(sample.id in shown for sample in shard.samples)]


def _shown(root: Path, decided: Decided, shards: Sequence[Shard], patches: int) -> list[Sample]:
    if not any((root / shard.path).is_file() for shard in shards if shard.modality == "S2L2A"):
        return []
    return _candidates(decided, shards)[:patches]


def _candidates(decided: Decided, shards: Sequence[Shard]) -> list[Sample]:
    held = {sample.id for shard in shards if shard.modality == "S2L2A" for sample in shard.samples}
    candidates = [sample for sample in decided.samples if sample.id in held]
    return sorted(candidates, key=lambda sample: (-len(sample.event_ids), not sample.is_annotated))


SEASONS = 4
"""Images that are shown of a series which no event divides."""


def _panels(frames: Frames, sample: Sample) -> list[Panel]:
    panels: list[Panel] = []
    if "S2L2A" in frames:
        panels += _optical_panels(frames["S2L2A"], sample)
    if "SCL" in frames:
        classes = frames["SCL"]
        step = _shown_step(classes, sample)
        norm = BoundaryNorm(np.arange(-0.5, 12), 12)
        options = {"cmap": ListedColormap(SCL_COLOURS), "norm": norm}
        panels.append((f"SCL {_day(classes, step)}", classes["bands"].values[step, 0], options))
    panels += _radar_panels(frames, sample)
    if "MASK" in frames:
        mask = frames["MASK"]["bands"].values[0, 0]
        panels.append(("mask", mask, {"cmap": "gray", "norm": Normalize(0.0, 1.0)}))
    return panels


def _optical_panels(optical: xr.Dataset, sample: Sample) -> list[Panel]:
    times = optical["time_"].values
    nearest = {"before": nearest_image(times, sample, after=False), "after": nearest_image(times, sample, after=True)}
    framed = [(f"{name} {_day(optical, step)}", step) for name, step in nearest.items() if step is not None]
    seen = np.flatnonzero(~np.isnat(times))[:SEASONS].tolist()
    shown = framed or [(_day(optical, step), step) for step in seen]
    return [(title, _rgb(optical, step), {}) for title, step in shown]


def _radar_panels(frames: Frames, sample: Sample) -> list[Panel]:
    for modality in RADAR:
        if modality in frames and np.isfinite(frames[modality]["bands"].values).any():
            radar = frames[modality]
            image = radar["bands"].values[_shown_step(radar, sample), 0].astype(np.float32)
            title = f"{modality} {str(radar['band'].values[0]).upper()} [dB]"
            return [(title, image, {"cmap": "gray", "norm": Normalize(-22.0, 0.0)})]
    return []


def _frames(root: Path, shards: Sequence[Shard], samples: Sequence[Sample]) -> dict[str, dict[str, xr.Dataset]]:
    """Return what is shown of each sample, by its id and modality; each file is opened once."""
    frames: dict[str, dict[str, xr.Dataset]] = {sample.id: {} for sample in samples}
    for shard in shards:
        places = {held.id: place for place, held in enumerate(shard.samples) if held.id in frames}
        if places and shard.modality in ("S2L2A", "SCL", "MASK", *RADAR) and (root / shard.path).is_file():
            with open_shard(root / shard.path) as dataset:
                for name, place in places.items():
                    frames[name][shard.modality] = dataset.isel(sample=place).load()
    return frames


def nearest_image(times: NDArray[np.datetime64], sample: Sample, *, after: bool) -> int | None:
    """Return the step of the image that is certainly before every event of a patch, or after all, and nearest to them.

    `times` (time) has NaT where an image is missing. Returns None where there is no such image, or no day to go by.
    """
    if sample.date is None:
        return None
    none_before, all_after = _span(sample, sample.date)
    edge = np.datetime64((all_after if after else none_before).replace(tzinfo=None), "ns")
    steps = np.flatnonzero((times >= edge) if after else (times < edge))
    return int(steps[np.argmin(np.abs(times[steps] - edge))]) if steps.size else None


def _shown_step(frames: xr.Dataset, sample: Sample) -> int:
    """Return the image after the events, else the first one there is."""
    times = frames["time_"].values
    step = nearest_image(times, sample, after=True)
    return step if step is not None else int(np.argmax(~np.isnat(times)))


def _span(sample: Sample, day: datetime) -> tuple[datetime, datetime]:
    """Return until when none of a patch's slides had come down, and from when all had; `day` where it has none."""
    starts = [last + timedelta(days=1) for last in sample.event_from]
    return min(starts, default=day), max(sample.event_to, default=day)


def _day(frames: xr.Dataset, step: int) -> str:
    return str(frames["time_"].values[step])[:10]


def _rgb(frames: xr.Dataset, step: int) -> NDArray[np.float64]:
    names = [str(name) for name in frames["band"].values]
    wanted = ["B04", "B03", "B02"] if {"B04", "B03", "B02"} <= set(names) else names[:3] * 3
    stack = frames["bands"].values[step][[names.index(name) for name in wanted[:3]]].astype(float)
    stack[stack == S2_NODATA] = np.nan
    if not np.isfinite(stack).any():
        return np.zeros((*stack.shape[1:], 3))
    low, high = np.nanpercentile(stack, (2, 98))
    scaled: NDArray[np.float64] = np.clip((stack - low) / max(high - low, 1.0), 0, 1)
    return np.moveaxis(np.nan_to_num(scaled), 0, -1)
