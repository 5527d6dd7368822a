"""Tables of places that are split without a dataset: a published GeoJSON, or CSV."""

from io import StringIO
from pathlib import Path

import pandas as pd

from pipeline.errors import RecipeError
from pipeline.splits.audit import read_locations

_COLUMNS = ("id", "lon", "lat")


def read_places(path: Path) -> pd.DataFrame:
    """Read ids and centres of patches from a published `patch_locations.geojson` or from CSV.

    Returns
    -------
    pandas.DataFrame
        `id` str, `lon` and `lat` float64 on WGS 84 [degrees], in the order of the file.

    Raises
    ------
    RecipeError
        The file cannot be read, lacks a column or a value, or repeats an id.
    """
    if path.suffix.lower() in {".geojson", ".json"}:
        return read_locations(path).rename(columns={"patch_id": "id"})[list(_COLUMNS)]
    try:
        table = pd.read_csv(StringIO(path.read_text("utf-8-sig")), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as err:
        raise RecipeError(f"{path} cannot be read as CSV: {' '.join(str(err).split())}") from err
    return _checked(table, path)


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise RecipeError(f"{path} has no column {', '.join(missing)}")
    if not isinstance(table.index, pd.RangeIndex):
        raise RecipeError(f"{path} has rows with more fields than its header")
    ids = table["id"].str.strip()
    if table.empty or (ids == "").any():
        raise RecipeError(f"{path} has no rows" if table.empty else f"{path} has a row without id")
    for name in ids[ids.duplicated()]:
        raise RecipeError(f"{path} repeats id {name}")
    places = pd.DataFrame({"id": ids, **{axis: pd.to_numeric(table[axis], errors="coerce") for axis in ("lon", "lat")}})
    for name in ids[~places["lon"].between(-180.0, 180.0) | ~places["lat"].between(-90.0, 90.0)]:
        raise RecipeError(f"{path}: lon or lat of {name} is no number in range (-180 to 180, -90 to 90)")
    return places
