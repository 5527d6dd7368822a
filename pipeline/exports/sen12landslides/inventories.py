"""inventories.shp.zip: the polygons of every landslide, with the columns of the release."""

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyproj
import shapely

from pipeline.exports.sen12landslides.datasets import Dataset
from pipeline.exports.sen12landslides.patches import confidence_of
from pipeline.layouts.stored_zip import write_zip
from pipeline.records import Event

_GEOD = pyproj.Geod(ellps="WGS84")

_LARGEST_ID = 2**31 - 1

_NO_DAY = "1980-01-01"
"""Stands in the file's header in place of today."""

_UNKNOWN = ("author", "type", "event_type")
"""Columns of the release that no inventory of ours has."""
_ALGORITHM = ("pre_dt2", "event_dt2", "post_dt2")
"""Dates that the release's own dating found; it is not run here."""


def number_events(datasets: Sequence[Dataset]) -> list[dict[str, int]]:
    """Return for each dataset the whole number that stands for each event in the export.

    That is the event's own id where all ids of all datasets are different whole numbers, as in the release; otherwise
    they are numbered from 1 in the order of events.parquet, dataset after dataset. inventories.shp.zip has both.
    """
    ids = [event.id for dataset in datasets for event in dataset.decided.events]
    own = all(id_.isdecimal() and str(int(id_)) == id_ and int(id_) <= _LARGEST_ID for id_ in ids)
    if own and len(set(ids)) == len(ids):
        return [{event.id: int(event.id) for event in dataset.decided.events} for dataset in datasets]
    numbers, start = [], 1
    for dataset in datasets:
        numbers.append({event.id: start + index for index, event in enumerate(dataset.decided.events)})
        start += len(dataset.decided.events)
    return numbers


def write_inventories(path: Path, datasets: Sequence[Dataset], numbers: Sequence[Mapping[str, int]]) -> None:
    """Write every event of the datasets, by number, as a zipped shapefile in lon/lat on WGS 84.

    The columns are those of the release, and `source_id`, the id in the inventory. Unknown texts are empty. `pre_date`
    and `post_date` are the interval that the inventory gives. The same events always give the same bytes.
    """
    rows = [
        _row(event, held[event.id], _region_of(dataset, event))
        for dataset, held in zip(datasets, numbers, strict=True)
        for event in dataset.decided.events
    ]
    rows.sort(key=lambda row: row["id"])
    frame = gpd.GeoDataFrame(rows, geometry="geometry", crs="EPSG:4326")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "inventories.shp"
        frame.to_file(file, driver="ESRI Shapefile", DBF_DATE_LAST_UPDATE=_NO_DAY, ENCODING="UTF-8")
        entries = {part.name: part.read_bytes() for part in sorted(Path(folder).iterdir())}
    write_zip(path, entries)


def _row(event: Event, number: int, region: str) -> dict[str, Any]:
    polygon = shapely.from_wkb(event.wkb)
    area, _ = _GEOD.geometry_area_perimeter(polygon)
    return {
        "id": number,
        "location": region,
        **dict.fromkeys(_UNKNOWN, ""),
        "area(m²)": abs(area),
        "pre_date": _text(event.date_from),
        "event_date": _text(event.date),
        "post_date": _text(event.date_to),
        **dict.fromkeys(_ALGORITHM, ""),
        "event_conf": confidence_of(event),
        "source_id": event.id,
        "geometry": polygon,
    }


def _region_of(dataset: Dataset, event: Event) -> str:
    return event.region or dataset.regions.get(event.id, "")


def _text(day: datetime | None) -> str:
    return "" if day is None else f"{day:%Y-%m-%d}"
