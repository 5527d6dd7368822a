"""Opening a places file, and reading the columns that every kind of places file has: identifiers and days."""

import re
import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from pipeline.errors import RecipeError

TABLES = (".csv",)
PARQUETS = (".parquet", ".geoparquet")
VECTORS = (".gpkg", ".geojson", ".json", ".shp", ".zip")

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\S.*)?")
_NO_VALUE = {"", "none", "nan", "nat", "null", "<na>"}


def refusal(text: str) -> RecipeError:
    """Return the error that says `text` in one line."""
    return RecipeError(" ".join(text.split()))


def open_places(path: str | Path) -> pd.DataFrame:
    """Read a places file as it is: a GeoDataFrame where it has geometries, else a DataFrame.

    Parameters
    ----------
    path : str or Path
        CSV (every cell stays text), Parquet, GeoParquet, GeoPackage, GeoJSON, Shapefile or a zip of one.

    Raises
    ------
    RecipeError
        No such file, a kind of file that is not known, several layers, or a file that cannot be read.
    """
    file = Path(path)
    if not file.exists():
        raise refusal(f"{path} does not exist: give the path of an inventory or of a points file")
    readers = {
        **dict.fromkeys(TABLES, _read_csv),
        **dict.fromkeys(PARQUETS, _read_parquet),
        **dict.fromkeys(VECTORS, _read_vector),
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(suffix.removeprefix(".") for suffix in readers)
        raise refusal(f"{path} is not a kind of file that holds places: convert it to one of {known}")
    try:
        return reader(file)
    except RecipeError:
        raise
    except (OSError, RuntimeError, ValueError, pd.errors.ParserWarning, shapely.errors.ShapelyError) as err:
        raise refusal(f"{path} cannot be read: {err}; open it in another program and export it anew") from err


def _read_csv(file: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(
            file, dtype=str, keep_default_na=False, index_col=False, skipinitialspace=True, encoding="utf-8-sig"
        )
    return table.rename(columns=str.strip)


def _read_parquet(file: Path) -> pd.DataFrame:
    if b"geo" in (pq.read_schema(file).metadata or {}):
        frame: pd.DataFrame = gpd.read_parquet(file)
        return frame
    return pd.read_parquet(file)


def _read_vector(file: Path) -> pd.DataFrame:
    with file.open("rb") as raw:
        # Such a file names others, and commands to run on them.
        if b"<OGRVRT" in raw.read(65536):
            raise refusal(f"{file} is an OGR virtual format, which refers to other files: export it to a real one")
    layers = gpd.list_layers(file)
    spatial = [str(name) for name in layers.loc[layers["geometry_type"].notna(), "name"]]
    if len(spatial) != 1:
        found = f"layers {', '.join(spatial)}" if spatial else "no layer with geometries"
        raise refusal(f"{file} has {found}: export the one that holds the places to a file of its own")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error parsing datetimes", UserWarning)
        try:
            frame: pd.DataFrame = gpd.read_file(file, layer=spatial[0])
        except ValueError as err:
            if "day is out of range" not in str(err):
                raise
            frame = _read_days_as_text(file, spatial[0])
    return frame


def _read_days_as_text(file: Path, layer: str) -> pd.DataFrame:
    """Read a layer whose dates no calendar has: they come as text, for whoever judges the rows."""
    columns = gpd.read_file(file, layer=layer, where="1 = 0").drop(columns="geometry").dtypes
    dated = [str(name) for name, dtype in columns.items() if dtype.kind == "M"]
    text = 'CAST("{0}" AS character(32)) AS "{0}"'
    chosen = [(text if name in dated else '"{0}"').format(name) for name in columns.index]
    # OGR's own dialect: SQLite's would need the layer's geometry by name. Nobody but the user names the layer.
    query = f'SELECT {", ".join(chosen)} FROM "{layer}"'  # noqa: S608
    frame: pd.DataFrame = gpd.read_file(file, sql=query, sql_dialect="OGRSQL")
    for name in dated:
        frame[name] = frame[name].str.replace("/", "-")
    return frame


def to_lonlat_frame(frame: Any, *, path: str | Path) -> Any:
    """Return a GeoDataFrame in lon/lat on WGS 84; raises RecipeError when it does not say what CRS it has.

    GeoJSON that names none is in lon/lat by RFC 7946, section 4.
    """
    crs = frame.crs
    if crs is None and Path(path).suffix.lower() in {".geojson", ".json"}:
        return frame.set_crs(4326)
    # GeoPackage spells a missing CRS as one called "Undefined …" (OGC 12-128r18, table 'gpkg_spatial_ref_sys').
    if crs is None or crs.name.lower().startswith(("undefined", "unknown engineering")):
        raise refusal(f"{path} has no CRS; set it where it was made, for example with GeoDataFrame.set_crs, and save")
    try:
        return frame.to_crs(4326)
    except (RuntimeError, ValueError) as err:
        raise refusal(f"{path} cannot be brought from {crs.name} to lon/lat: {err}; reproject it to EPSG:4326") from err


def column_of(table: pd.DataFrame, name: str, *, path: str | Path, key: str) -> list[Any]:
    """Return the values of a column; raises RecipeError that says which columns there are and how to name one."""
    if name not in table.columns:
        others = ", ".join(str(column) for column, dtype in table.dtypes.items() if str(dtype) != "geometry") or "none"
        raise refusal(f"{path} has no column {name}; its columns are: {others}; use --set places.columns.{key}=NAME")
    return list(table[name].tolist())


def ids_of(table: pd.DataFrame, column: str | None, *, path: str | Path, prefix: str = "") -> list[str]:
    """Return the identifier of each row as text; without a column, `prefix` and the row's number from 1.

    Raises
    ------
    RecipeError
        No such column, a row without an identifier, or an identifier that two rows share.
    """
    if column is None:
        return [f"{prefix}{row}" for row in range(1, len(table) + 1)]
    values = column_of(table, column, path=path, key="id")
    ids = [_text(value) for value in values]
    empty = [row for row, text in enumerate(ids, start=1) if not text]
    if empty:
        raise refusal(
            f"{path}: {len(empty)} of {len(ids)} rows have no {column} (first: row {empty[0]}); give each one"
        )
    seen: set[str] = set()
    repeated = [text for text in ids if text in seen or seen.add(text)]  # type: ignore[func-returns-value]
    if repeated:
        raise refusal(
            f"{path}: {len(repeated)} of {len(ids)} rows repeat an id of column {column} (first: {repeated[0]}); "
            "make ids unique, or number the rows with --set places.columns.id=null"
        )
    return ids


def _text(value: Any) -> str:
    if not isinstance(value, str) and is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing: null, not a number, blank, or a word that says so."""
    if isinstance(value, str):
        return value.strip().lower() in _NO_VALUE
    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))


def day_of(value: Any) -> datetime | None:
    """Return the UTC day of a cell as midnight; None when it is neither a date nor ISO text (YYYY-MM-DD…)."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip()) if _DAY.fullmatch(value.strip()) else None
        except ValueError:
            return None
    if is_missing(value) or not isinstance(value, date):
        return None
    if isinstance(value, datetime) and value.tzinfo is not None:
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            return None
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def refuse_any(bad: NDArray[np.bool_], names: Sequence[str], *, path: str | Path, what: str, advice: str) -> None:
    """Raise RecipeError with how many rows are bad and the first one's name; `advice` says what to do."""
    if bad.any():
        first = names[int(np.argmax(bad))]
        raise refusal(f"{path}: {int(bad.sum())} of {bad.size} {what} (first: {first}); {advice}")


def region_of(path: str | Path, region: str | None) -> str:
    """Return the region's name: the one given, else the file's name in lower case with other characters as '-'."""
    if region is not None:
        return region
    stem = Path(path).name.lower()
    for suffix in (".zip", *VECTORS, *PARQUETS, *TABLES):
        stem = stem.removesuffix(suffix)
    return slug_of(stem)


def slug_of(name: str) -> str:
    """Return a name made fit for ids: in lower case, with other characters than letters and digits as '-'."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-") or "places"


def names_of(table: pd.DataFrame, column: str, *, path: str | Path, key: str) -> list[str]:
    """Return the text of each row in a column that must name something; raises RecipeError where one is blank."""
    values = column_of(table, column, path=path, key=key)
    blank = [row for row, value in enumerate(values, start=1) if is_missing(value)]
    if blank:
        raise refusal(
            f"{path}: {len(blank)} of {len(values)} rows have no {column} (first: row {blank[0]}); give each one"
        )
    return [str(value) for value in values]
