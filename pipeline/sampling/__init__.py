"""Where: a points file or a landslide inventory becomes samples on the ground."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import pandas as pd

from pipeline.records import Recipe, Sample
from pipeline.sampling.criteria import Slopes
from pipeline.sampling.inventory import Inventory, inventory_of, read_inventory
from pipeline.sampling.lattice import annotated_samples
from pipeline.sampling.negatives import negative_samples, wanted_negatives
from pipeline.sampling.points import points_of, read_points
from pipeline.sampling.tables import open_places
from pipeline.sampling.unlabelled import unlabelled

__all__ = [
    "Inventory",
    "Placement",
    "Slopes",
    "annotated_samples",
    "negative_samples",
    "read_inventory",
    "read_places",
    "read_points",
    "wanted_negatives",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The samples of a places file before any negatives are drawn."""

    samples: tuple[Sample, ...]
    inventory: Inventory | None
    """The polygons that the samples come from; None for a points file."""
    unlabelled: Mapping[str, str] = field(default_factory=dict)
    """Samples whose labels would be wrong, by id, with the reason code."""


def read_places(path: str | Path, recipe: Recipe) -> Placement:
    """Read a points file or an inventory, whichever `path` holds: geometries other than points are an inventory.

    Raises
    ------
    RecipeError
        As `read_points`, `read_inventory` and `annotated_samples` do.
    """
    table = open_places(path)
    if _holds_points(table):
        return Placement(samples=points_of(table, path=path, recipe=recipe), inventory=None)
    inventory = inventory_of(table, path=path, places=recipe.places)
    samples = annotated_samples(inventory, recipe)
    return Placement(samples=samples, inventory=inventory, unlabelled=unlabelled(samples, inventory, recipe))


def _holds_points(table: pd.DataFrame) -> bool:
    if not isinstance(table, gpd.GeoDataFrame):
        return True
    return set(table.geom_type.dropna()) == {"Point"}
