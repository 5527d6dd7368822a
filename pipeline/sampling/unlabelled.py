"""Annotated cells whose labels would be wrong, because a landslide reaches into them that cannot be used."""

from collections.abc import Sequence

import numpy as np
import shapely

from pipeline.grid import Geometries, project_all
from pipeline.records import Reason, Recipe, RejectedEvent, Sample
from pipeline.sampling.inventory import Inventory
from pipeline.sampling.lattice import BORDER, cells_met
from pipeline.sampling.zones import near_zone


def unlabelled(samples: Sequence[Sample], inventory: Inventory, recipe: Recipe) -> dict[str, str]:
    """Return the samples that a rejected polygon reaches into, by id, with the reason code of what is wrong.

    A mask would call that landslide background. A duplicate does no harm: its ground is in the mask already. Where
    several polygons reach in, the first one by id gives the reason; a bad date is an undated event.
    """
    harmful = [event for event in inventory.rejected if event.wkb and event.reason != Reason.DUPLICATE]
    if not harmful:
        return {}
    lonlat: Geometries = shapely.from_wkb([event.wkb for event in harmful])
    found: dict[str, str] = {}
    for epsg in sorted({sample.grid.epsg for sample in samples}):
        cells = {(s.lattice_x, s.lattice_y): s.id for s in samples if s.grid.epsg == epsg}
        near = np.flatnonzero(near_zone(lonlat, epsg=epsg))
        met = cells_met(project_all(lonlat[near], epsg), recipe, inset=BORDER)
        order = np.argsort(met.polygon, kind="stable")
        for polygon, ix, iy in np.stack([near[met.polygon], met.ix, met.iy], axis=1)[order].tolist():
            if (ix, iy) in cells:
                found.setdefault(cells[ix, iy], _reason_of(harmful[polygon]))
    return found


def _reason_of(event: RejectedEvent) -> str:
    return str(Reason.UNDATED_EVENT) if event.reason == Reason.BAD_DATE else event.reason
