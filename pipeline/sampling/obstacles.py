"""What negatives keep off: polygons of every region, rejected ones too, and patches of neighbouring zones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from pipeline.grid import Floats, Geometries, Integers, footprints, is_far, project_all, to_utm
from pipeline.records import Recipe, Sample
from pipeline.sampling.criteria import Surroundings
from pipeline.sampling.inventory import Inventory
from pipeline.sampling.lattice import BORDER, LatticeZone, cells_met
from pipeline.sampling.zones import near_zone


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Obstacles:
    """Everything that negatives of an inventory keep off."""

    zones: Sequence[LatticeZone]
    """Those of every region."""
    inventory: Inventory
    reached: Sequence[Sample]
    """Every annotated cell; none where there is one zone of one region only."""
    recipe: Recipe

    def around(self, zone: LatticeZone) -> Surroundings:
        """Return what lies around the cells of one region in one zone."""
        rivals = sorted(
            (sample for sample in self.reached if sample.grid.epsg == zone.epsg), key=lambda sample: sample.id
        )
        if len({sample.region for sample in rivals}) < 2:
            rivals = []
        return Surroundings(
            polygons=_within(self._polygons(zone), zone, self.recipe),
            owners=np.array([sample.region for sample in rivals], np.object_),
            owner_cells=np.array([(s.lattice_x, s.lattice_y) for s in rivals], np.int64).reshape(-1, 2),
        )

    def _polygons(self, zone: LatticeZone) -> Geometries:
        alike = [other.polygons for other in self.zones if other.epsg == zone.epsg]
        if self.recipe.places.min_distance > 0.0:
            others = [other.events for other in self.zones if other.epsg != zone.epsg]
            indices = np.concatenate([np.empty(0, np.int64), *others]).tolist()
            alike.append(_projected([self.inventory.events[index].wkb for index in indices], zone.epsg))
        alike.append(_projected([event.wkb for event in self.inventory.rejected if event.wkb], zone.epsg))
        return np.concatenate(alike)


def taken_cells(zone: LatticeZone, obstacles: Obstacles, around: Surroundings) -> Integers:
    """Return the numbers of the zone's cells that a polygon, or a patch of another zone, touches; sorted."""
    places = np.array([(s.grid.epsg, s.lon, s.lat) for s in obstacles.reached], np.float64).reshape(-1, 3)
    foreign = [obstacles.reached[index].grid for index in _foreign_near(zone, places, obstacles.recipe)]
    everything = np.concatenate([around.polygons, project_all(footprints(foreign), zone.epsg)])
    met = cells_met(everything, obstacles.recipe, inset=-BORDER)
    inside = zone.extent.holds(met.ix, met.iy)
    return np.unique(zone.extent.ids(met.ix[inside], met.iy[inside]))


def _projected(wkb: Sequence[bytes], epsg: int) -> Geometries:
    polygons = np.array(shapely.from_wkb(wkb), np.object_).reshape(-1)
    return project_all(polygons[near_zone(polygons, epsg=epsg)], epsg)


def _within(polygons: Geometries, zone: LatticeZone, recipe: Recipe) -> Geometries:
    """Return the polygons [m] that come as near to the zone's extent as a criterion can ask for."""
    reach = recipe.places.min_distance + recipe.step
    left, bottom = (recipe.anchor[i] + zone.extent.origin[i] * recipe.step - reach for i in (0, 1))
    right = left + zone.extent.columns * recipe.step + 2.0 * reach
    top = bottom + zone.extent.rows * recipe.step + 2.0 * reach
    west, south, east, north = shapely.bounds(polygons).T
    near: Geometries = polygons[(east >= left) & (west <= right) & (north >= bottom) & (south <= top)]
    return near


def _foreign_near(zone: LatticeZone, places: Floats, recipe: Recipe) -> list[int]:
    """Return which places (epsg, lon, lat) are patches of another zone that may overlap the zone's extent."""
    near = np.flatnonzero((places[:, 0] != zone.epsg) & ~is_far(places[:, 1], epsg=zone.epsg))
    easting, northing = to_utm(lon=places[near, 1], lat=places[near, 2], epsg=zone.epsg)
    step, (left, bottom), extent = recipe.step, recipe.anchor, zone.extent
    x, y = (easting - left) / step - extent.origin.ix, (northing - bottom) / step - extent.origin.iy
    overlaps = (x > -2.0) & (x < extent.columns + 2.0) & (y > -2.0) & (y < extent.rows + 2.0)
    indices: list[int] = near[overlaps].tolist()
    return indices
