"""The files of each task: who is in which split, statistics of train, where the patches lie, and the settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from pipeline.errors import RecipeError
from pipeline.exports.request import ExportRequest, Radiometry
from pipeline.exports.sen12landslides.norms import norm_entry, norm_lists, pooled
from pipeline.exports.sen12landslides.patches import Written
from pipeline.exports.sen12landslides.splits import COMPAT, DEFAULT, SPLITS, Splitter
from pipeline.splits.tasks import PUBLISHED_EXCLUDE, TASKS, Task, filter_patches

EVERYTHING = "S12LS-AD"
"""The task whose split the older files have."""

_EXCLUDED = {"S12LS-LD": PUBLISHED_EXCLUDE}
"""What the published splitter leaves out of a task."""

Group = Mapping[str, Sequence[Written]]
"""Patch id to its files of one sensor, or of every sensor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskWriter:
    """Writes the task files of an export; `notes` gathers what could not be made."""

    out: Path
    request: ExportRequest
    splitter: Splitter
    notes: list[str]

    def write(self, written: Sequence[Written]) -> None:
        """Write tasks/ and experiments/ for these patches."""
        sensors = sorted({patch.sensor for patch in written})
        for task in map(self._as_published, TASKS.values()):
            for sensor in sensors:
                self._write_group(task, sensor, _grouped(written, (sensor,)), (sensor,))
            if len(sensors) > 1:
                self._write_group(task, "aligned", _grouped(written, sensors), sensors)
            for radiometry in self.request.radiometries:
                folder = self.out / "tasks" / task.name / radiometry
                if folder.is_dir():
                    _write_json(folder / "config.json", self._config(task, radiometry, sensors))

    def _as_published(self, task: Task) -> Task:
        return replace(task, exclude=_EXCLUDED.get(task.name, ())) if self.request.split == COMPAT else task

    def _write_group(self, task: Task, name: str, group: Group, sensors: Sequence[str]) -> None:
        """Write the files of one sensor, or of the patches that all `sensors` have, in every radiometry."""
        label = f"{task.name} {name}"
        table = filter_patches(_table(group), task)
        if table.empty:
            self.notes.append(f"{label}: no patch takes part in the task: it has no files")
            return
        try:
            ids = self.splitter(table[["id", "pixel_annotated", "inventory"]])
        except RecipeError as err:
            self.notes.append(f"{label}: {err}: it has no files")
            return
        counts = ", ".join(f"{len(ids[split])} {split}" for split in SPLITS)
        if not any(ids.values()):
            self.notes.append(f"{label}: no patch is in a split: it has no files")
            return
        if not ids["train"]:
            self.notes.append(f"{label}: no train patch ({counts}): it has no statistics; try another split")
        for radiometry in self.request.radiometries:
            self._write_files(_names(self.out / "tasks" / task.name / radiometry, name), group, ids, radiometry)
            if task.name == EVERYTHING and len(sensors) == 1:
                self._write_old(radiometry, name, group, ids)

    def _write_files(
        self, names: Mapping[str, Path], group: Group, ids: Mapping[str, Sequence[str]], radiometry: Radiometry
    ) -> None:
        names["splits"].parent.mkdir(parents=True, exist_ok=True)
        entries = {split: [_entry(group[id_]) for id_ in ids[split]] for split in SPLITS}
        _write_json(names["splits"], entries)
        if ids["train"]:
            _write_json(names["norm"], _norm(group, ids["train"], radiometry))
        _write_locations(names["locations"], group, ids)

    def _write_old(self, radiometry: Radiometry, sensor: str, group: Group, ids: Mapping[str, Sequence[str]]) -> None:
        folder = self.out / "experiments" / "export" / radiometry / sensor
        folder.mkdir(parents=True)
        paths = {split: [f"data/data_{radiometry}/{group[id_][0].file}" for id_ in ids[split]] for split in SPLITS}
        _write_json(folder / "data_paths.json", paths)
        if ids["train"]:
            moments = pooled([group[id_][0] for id_ in ids["train"]], radiometry)
            _write_json(folder / "norm_data.json", norm_lists(moments))

    def _config(self, task: Task, radiometry: Radiometry, sensors: Sequence[str]) -> dict[str, Any]:
        is_compat = self.request.split == COMPAT
        return {
            "input_dir": f"data/data_{radiometry}",
            "output_dir": f"tasks/{task.name}/{radiometry}",
            "export_geodataframe": True,
            "clip_data": radiometry == "raw",
            "filter_criteria": {
                "min_annotated_pixel": task.min_annotated_pixel,
                "include_patterns": list(task.include),
                "exclude_patterns": list(task.exclude),
                "satellites": list(sensors),
                "annotated_only": task.annotated_only,
                "non_annotated_only": False,
                "annotated_ratio": None,
                "min_confidence": None,
                "max_confidence": None,
            },
            "test_size": 0.2 if is_compat else None,
            "val_size": 0.2 if is_compat else None,
            "seed": 42 if is_compat else None,
            "n_workers": 1,
            "split": self.request.split or DEFAULT,
            "norm": self.request.norm,
        }


def _names(folder: Path, name: str) -> dict[str, Path]:
    """Return where the files of a sensor lie, or those of the patches that every sensor has."""
    if name == "aligned":
        return {
            "splits": folder / "splits_aligned.json",
            "norm": folder / "norm_aligned.json",
            "locations": folder / "patch_locations_aligned.geojson",
        }
    return {
        "splits": folder / name / "splits.json",
        "norm": folder / name / "norm.json",
        "locations": folder / name / "patch_locations.geojson",
    }


def _grouped(written: Sequence[Written], sensors: Sequence[str]) -> Group:
    found: dict[str, list[Written]] = {}
    for patch in sorted(written, key=lambda patch: (patch.sample.id, patch.sensor)):
        if patch.sensor in sensors:
            found.setdefault(patch.sample.id, []).append(patch)
    return {id_: patches for id_, patches in found.items() if len(patches) == len(sensors)}


def _table(group: Group) -> pd.DataFrame:
    rows = [
        (id_, patch.pixel_annotated, patch.inventory, patch.sample.is_annotated, patch.confidence)
        for id_, (patch, *_) in group.items()
    ]
    return pd.DataFrame(rows, columns=["id", "pixel_annotated", "inventory", "is_annotated", "confidence"])


def _entry(patches: Sequence[Written]) -> dict[str, Any]:
    first = patches[0]
    files = {patch.sensor: patch.file for patch in patches}
    return {
        "id": first.sample.id,
        **files,
        "pixel_annotated": first.pixel_annotated,
        "inventory": first.inventory,
    }


def _norm(group: Group, train: Sequence[str], radiometry: Radiometry) -> dict[str, Any]:
    columns = zip(*(group[id_] for id_ in train), strict=True)
    return {patches[0].sensor: norm_entry(pooled(patches, radiometry)) for patches in columns}


def _write_locations(path: Path, group: Group, ids: Mapping[str, Sequence[str]]) -> None:
    """Write points on WGS 84 as the release has them: by CRS as text, then id; numbers as GDAL writes them."""
    split_of = {id_: split for split, members in ids.items() for id_ in members}
    firsts = [group[id_][0] for id_ in split_of]
    firsts.sort(key=lambda patch: (f"EPSG:{patch.sample.grid.epsg}", patch.sample.id))
    places = [patch.sample for patch in firsts]
    columns = {
        "patch_id": [sample.id for sample in places],
        "split": [split_of[sample.id] for sample in places],
        "inventory": [patch.inventory for patch in firsts],
        "annotated_pixels": [patch.pixel_annotated for patch in firsts],
        "lon": [sample.lon for sample in places],
        "lat": [sample.lat for sample in places],
        "crs_original": [f"EPSG:{sample.grid.epsg}" for sample in places],
    }
    points = shapely.points([(sample.lon, sample.lat) for sample in places])
    gpd.GeoDataFrame(columns, geometry=points, crs="EPSG:4326").to_file(path, driver="GeoJSON", WRITE_NAME="NO")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False), encoding="utf-8")
