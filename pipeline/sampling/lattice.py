"""Inventories on the absolute UTM lattice: which cells landslide polygons reach into.

The lattice and its numbering are those of Sen12Landslides. Here only a polygon that reaches inside annotates a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.grid import (
    Cell,
    Geometries,
    Integers,
    cell_grid,
    cell_indices,
    centres,
    grid_id,
    project_all,
)
from pipeline.records import Event, PatchGrid, Recipe, Sample
from pipeline.sampling.inventory import Inventory
from pipeline.sampling.tables import refusal
from pipeline.sampling.zones import zones_of

BORDER = 1e-5
"""Half width [m] of the border between cells: rounding through lon/lat moves a vertex by a few nanometres."""

MOST_CELLS = 4_000_000
"""Cells that are looked at in the boxes around all polygons of a zone; they take a gigabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A rectangle of lattice cells that ids are counted in."""

    origin: Cell
    """The south-western cell."""
    columns: int
    rows: int

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.columns * self.rows

    def holds(self, ix: Integers, iy: Integers) -> NDArray[np.bool_]:
        """Tell which cells lie in the rectangle."""
        x, y = ix - self.origin.ix, iy - self.origin.iy
        return (x >= 0) & (x < self.columns) & (y >= 0) & (y < self.rows)

    def ids(self, ix: Integers, iy: Integers) -> Integers:
        """Return the number of each cell by the law of `grid.grid_id`."""
        return self.rows * (ix - self.origin.ix) + (iy - self.origin.iy)

    def cells(self, ids: Integers) -> tuple[Integers, Integers]:
        """Return column and row of each numbered cell."""
        return self.origin.ix + ids // self.rows, self.origin.iy + ids % self.rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatticeZone:
    """The part of an inventory that is one region and whose patches lie in one UTM zone."""

    epsg: int
    prefix: str
    """What ids begin with: the region, and the zone where the region uses several."""
    region: str
    events: Integers
    """Indices into the inventory's events."""
    polygons: Geometries
    """Their polygons in metres of the zone."""
    extent: Extent


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Meetings:
    """Pairs of a polygon (its index) and a cell that it meets."""

    polygon: Integers
    ix: Integers
    iy: Integers


def annotated_samples(inventory: Inventory, recipe: Recipe) -> tuple[Sample, ...]:
    """Return the cells of the lattice that a landslide polygon reaches into, by region, zone, column and row.

    A polygon that merely touches a cell's border does not annotate it. The date of a sample is its earliest event's,
    and so is its region: a cell that polygons of several regions reach into is one sample, and lists all of them.

    Raises
    ------
    RecipeError
        A polygon lies outside the UTM zones, too far from the zone it was given, or outside `places.extent`.
    """
    return annotated_in(lattice_zones(inventory, recipe), inventory, recipe)


def annotated_in(zones: Sequence[LatticeZone], inventory: Inventory, recipe: Recipe) -> tuple[Sample, ...]:
    """Return the annotated cells of an inventory whose zones are known; see `annotated_samples`."""
    if not zones:
        return ()
    met = [cells_met(zone.polygons, recipe, inset=BORDER) for zone in zones]
    number = np.repeat(np.arange(len(zones)), [part.ix.size for part in met])
    epsg = np.array([zone.epsg for zone in zones], np.int64)[number]
    ix, iy = np.concatenate([part.ix for part in met]), np.concatenate([part.iy for part in met])
    # Events are sorted by date and id, and so are their indices.
    event = np.concatenate([zone.events[part.polygon] for zone, part in zip(zones, met, strict=True)])
    order = np.lexsort((event, iy, ix, epsg))
    cells = np.stack([epsg, ix, iy], axis=1)[order]
    starts = np.flatnonzero(np.any(np.diff(cells, axis=0, prepend=-1) != 0, axis=1))
    members = np.split(event[order], starts[1:])
    owner = number[order][starts]
    samples: list[Sample] = []
    for index, zone in enumerate(zones):
        own = np.flatnonzero(owner == index)
        bare = cell_samples(zone, zone.extent.ids(*cells[starts[own], 1:].T), recipe)
        samples += (_annotated(one, members[i], inventory.events) for one, i in zip(bare, own.tolist(), strict=True))
    return tuple(samples)


def lattice_zones(inventory: Inventory, recipe: Recipe) -> tuple[LatticeZone, ...]:
    """Return the zones that each region's patches lie in, by region and EPSG code.

    Clusters of polygons share a zone whatever their region, so that patches of two regions never overlap. Ids are
    counted in each region's own extent, or in `places.extent` for all of them alike.

    Raises
    ------
    RecipeError
        As `annotated_samples` does; or two regions would give their patches the same ids.
    """
    if not inventory.events:
        return ()
    lonlat: Geometries = shapely.from_wkb([event.wkb for event in inventory.events])
    names = [f"event {event.id}" for event in inventory.events]
    epsgs = zones_of(lonlat, names, recipe=recipe, name=inventory.name)
    regions = np.array([inventory.region_of(event) for event in inventory.events], np.object_)
    zones = []
    for region in sorted(set(regions.tolist())):
        used = np.unique(epsgs[regions == region]).tolist()
        for epsg in used:
            events = np.flatnonzero((regions == region) & (epsgs == epsg))
            polygons = project_all(lonlat[events], epsg)
            prefix = region if len(used) == 1 else f"{region}-{epsg}"
            extent = _extent(polygons, recipe, name=inventory.name)
            zones.append(
                LatticeZone(epsg=epsg, prefix=prefix, region=region, events=events, polygons=polygons, extent=extent)
            )
    _refuse_same_prefix(zones, name=inventory.name)
    return tuple(zones)


def _refuse_same_prefix(zones: Sequence[LatticeZone], *, name: str) -> None:
    prefixes = [zone.prefix for zone in zones]
    twice = next((prefix for prefix in sorted(prefixes) if prefixes.count(prefix) > 1), None)
    if twice is not None:
        raise refusal(f"inventory {name}: ids of two regions would begin with {twice}; spell one of them otherwise")


def cells_met(polygons: Geometries, recipe: Recipe, *, inset: float) -> Meetings:
    """Return which cells each polygon [m] meets, where every cell is made smaller by `inset` [m] on all sides.

    A small positive inset finds the cells whose interior is reached; a negative one those that are merely touched too.
    """
    step, anchor = recipe.step, recipe.anchor
    west, south, east, north = shapely.bounds(polygons).T
    first_x, first_y = cell_indices(west + inset, south + inset, step=step, anchor=anchor)
    last_x, last_y = cell_indices(east - inset, north - inset, step=step, anchor=anchor)
    columns, rows = np.maximum(last_x - first_x, 0) + 1, np.maximum(last_y - first_y, 0) + 1
    count = columns * rows
    _refuse_too_many(polygons, columns.astype(np.float64) * rows, step)
    polygon = np.repeat(np.arange(len(polygons)), count)
    number = np.arange(polygon.size) - np.repeat(np.cumsum(count) - count, count)
    ix, iy = first_x[polygon] + number // rows[polygon], first_y[polygon] + number % rows[polygon]
    met = np.ones(polygon.size, np.bool_)
    doubtful = np.flatnonzero(count[polygon] > 1)
    left, bottom = anchor[0] + ix[doubtful] * step + inset, anchor[1] + iy[doubtful] * step + inset
    side = step - 2.0 * inset
    shapely.prepare(polygons)
    met[doubtful] = shapely.intersects(
        polygons[polygon[doubtful]], shapely.box(left, bottom, left + side, bottom + side)
    )
    return Meetings(polygon=polygon[met], ix=ix[met], iy=iy[met])


def _refuse_too_many(polygons: Geometries, cells: NDArray[np.float64], step: float) -> None:
    if cells.sum() > MOST_CELLS:
        west, south, east, north = shapely.bounds(polygons[int(cells.argmax())]).tolist()
        width, height = (east - west) / 1000, (north - south) / 1000
        raise refusal(
            f"polygons of the inventory lie in boxes of {cells.sum():.0f} cells of {step:g} m, and at most {MOST_CELLS}"
            f" are looked at; the largest polygon is {width:.0f} x {height:.0f} km: mend it"
        )


def cell_samples(zone: LatticeZone, ids: Integers, recipe: Recipe) -> list[Sample]:
    """Return a bare sample, without date and events, for each numbered cell of the zone's extent."""
    ix, iy = (axis.tolist() for axis in zone.extent.cells(ids))
    grids: list[PatchGrid] = [cell_grid(x, y, epsg=zone.epsg, recipe=recipe) for x, y in zip(ix, iy, strict=True)]
    return [
        Sample(
            id=f"{zone.prefix}_{grid_id(x, y, origin=zone.extent.origin, rows=zone.extent.rows)}",
            region=zone.region,
            grid=grid,
            lon=place.lon,
            lat=place.lat,
            date=None,
            is_annotated=False,
            lattice_x=x,
            lattice_y=y,
        )
        for x, y, grid, place in zip(ix, iy, grids, centres(grids), strict=True)
    ]


def _extent(polygons: Geometries, recipe: Recipe, *, name: str) -> Extent:
    given, margin = recipe.places.extent, recipe.places.margin
    if given is not None:
        extent = _snapped_outward(given, recipe, margin=0)
        _refuse_outside(polygons, extent, recipe, name=name)
        return extent
    west, south, east, north = shapely.total_bounds(polygons).tolist()
    return _snapped_outward((west, south, east, north), recipe, margin=margin)


def _snapped_outward(bounds: tuple[float, float, float, float], recipe: Recipe, *, margin: int) -> Extent:
    west, south, east, north = bounds
    if not (west < east and south < north):
        raise refusal(f"places.extent {list(bounds)} is empty: give left, bottom, right, top [m], left below right")
    step, anchor = recipe.step, recipe.anchor
    ix, iy = cell_indices([west + BORDER, east - BORDER], [south + BORDER, north - BORDER], step=step, anchor=anchor)
    columns, rows = (max(int(axis[1] - axis[0]), 0) + 1 + 2 * margin for axis in (ix, iy))
    return Extent(origin=Cell(int(ix[0]) - margin, int(iy[0]) - margin), columns=columns, rows=rows)


def _refuse_outside(polygons: Geometries, extent: Extent, recipe: Recipe, *, name: str) -> None:
    met = cells_met(polygons, recipe, inset=BORDER)
    outside = np.unique(met.polygon[~extent.holds(met.ix, met.iy)]).size
    if outside:
        raise refusal(
            f"inventory {name}: {outside} of {len(polygons)} polygons reach outside places.extent "
            f"{list(recipe.places.extent or ())} of {recipe.places.crs}; enlarge it, or cut the inventory to it"
        )


def _annotated(bare: Sample, members: Integers, events: tuple[Event, ...]) -> Sample:
    reaching = [events[index] for index in members.tolist()]
    return replace(
        bare,
        date=reaching[0].date,
        is_annotated=True,
        event_ids=tuple(event.id for event in reaching),
        event_dates=tuple(event.date for event in reaching),
        event_from=tuple(event.last_day_before for event in reaching),
        event_to=tuple(event.first_day_after for event in reaching),
    )
