"""Writing drawn places, what was rejected on the way, and what both rest on."""

import json
from importlib.metadata import version
from pathlib import Path

import geopandas as gpd
import pandas as pd

from pipeline.sampling.draw import Drawn
from pipeline.sampling.tables import PARQUETS, TABLES, refusal


def write_places(path: str | Path, drawn: Drawn) -> tuple[Path, Path, Path]:
    """Write places as GeoParquet or CSV; beside them `…_rejected` in the same format, and `….json`.

    The JSON holds settings, sources, counts by reason and the ids that ran out of attempts. The places come last, so
    that they are complete wherever they are.

    Returns
    -------
    tuple of Path
        Places, rejected draws and report.

    Raises
    ------
    RecipeError
        The name ends otherwise, or one of the files is there already.
    """
    places = Path(path)
    if places.suffix.lower() not in (*PARQUETS, *TABLES):
        raise refusal(f"{path} is not a name that places are written to: end it with .parquet or .csv")
    rejected, report = places.with_stem(f"{places.stem}_rejected"), places.with_suffix(".json")
    for file in (places, rejected, report):
        if file.exists():
            raise refusal(f"{file} is there already: give another name, or remove it")
    places.parent.mkdir(parents=True, exist_ok=True)
    _write_table(drawn.rejected, rejected)
    text = json.dumps(_report(drawn), indent=2, ensure_ascii=False) + "\n"
    _part(report).write_text(text, encoding="utf-8")
    _part(report).replace(report)
    points = gpd.points_from_xy(drawn.places["lon"], drawn.places["lat"], crs=4326)
    _write_table(gpd.GeoDataFrame(drawn.places, geometry=points), places)
    return places, rejected, report


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")


def _write_table(table: pd.DataFrame, file: Path) -> None:
    if file.suffix.lower() in TABLES:
        table.drop(columns="geometry", errors="ignore").to_csv(_part(file), index=False)
    else:
        table.to_parquet(_part(file), index=False)
    _part(file).replace(file)


def _report(drawn: Drawn) -> dict[str, object]:
    return {
        "sen12_pipeline": version("sen12-pipeline"),
        "settings": drawn.settings,
        "sources": list(drawn.sources),
        "places": len(drawn.places),
        "rejected": drawn.rejected["reason"].value_counts().sort_index().to_dict(),
        "unplaced": list(drawn.unplaced),
        "overlapping_pairs": drawn.overlapping,
    }
