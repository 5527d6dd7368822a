"""Places: the patches to cut and the events that fall into them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from affine import Affine
from odc.geo.geobox import GeoBox


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGrid:
    """A square north-up patch in a UTM zone: where each of its pixels lies."""

    epsg: int
    """UTM zone on WGS 84: 326zz north, 327zz south."""
    left: float
    """Easting of the left edge [m]."""
    top: float
    """Northing of the upper edge [m]."""
    size: int
    """Pixels along each side."""
    resolution: float
    """Pixel size [m]."""

    @property
    def geobox(self) -> GeoBox:
        """The same grid as odc-geo spells it, shape (size, size)."""
        transform = Affine(self.resolution, 0.0, self.left, 0.0, -self.resolution, self.top)
        return GeoBox((self.size, self.size), transform, f"EPSG:{self.epsg}")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top [m] in the grid's own zone."""
        side = self.size * self.resolution
        return (self.left, self.top - side, self.left + side, self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One dated landslide polygon."""

    id: str
    date: datetime
    """Day of the event, midnight UTC."""
    wkb: bytes
    """The polygon, lon/lat on WGS 84, as well-known binary."""
    date_from: datetime | None = None
    """Last day on which the slide was not there yet, midnight UTC; None where the inventory does not say."""
    date_to: datetime | None = None
    """First day on which it was there, midnight UTC; None where the inventory does not say."""
    confidence: float | None = None
    """How sure the date is [0 to 1]; None where the inventory does not say."""
    region: str = ""
    """Region of the inventory that it belongs to."""

    @property
    def last_day_before(self) -> datetime:
        """Last day on which the slide was not there yet."""
        return self.date_from if self.date_from is not None else self.date - timedelta(days=1)

    @property
    def first_day_after(self) -> datetime:
        """First day on which the slide was there for certain: an image of the event's own day may show either."""
        return self.date_to if self.date_to is not None else self.date + timedelta(days=1)

    def is_after(self, acquired: datetime) -> bool:
        """Tell whether the slide had come down for certain when an image was acquired."""
        return acquired >= max(self.first_day_after, self.last_day_before + timedelta(days=1))

    def is_before(self, acquired: datetime) -> bool:
        """Tell whether the slide had not come down for certain when an image was acquired."""
        return acquired < min(self.first_day_after, self.last_day_before + timedelta(days=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEvent:
    """A row of an inventory that cannot be used, and why."""

    id: str
    region: str
    reason: str
    """Reason code."""
    detail: str
    """What the row holds, and what to do about it; one line."""
    wkb: bytes = b""
    """Its polygon in lon/lat where it has a usable one: no patch without a landslide is cut there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One place: a patch with a name, and the day that its series is built around."""

    id: str
    region: str
    """Name of the inventory or points file that it comes from."""
    grid: PatchGrid
    lon: float
    """Longitude of the patch's centre [degrees, -180 to 180)."""
    lat: float
    """Latitude of the patch's centre [degrees]."""
    date: datetime | None
    """Day the series is built around (for an annotated cell its first event), midnight UTC."""
    is_annotated: bool
    """True when a landslide polygon reaches into the patch."""
    event_ids: tuple[str, ...] = ()
    """Events whose polygon reaches into the patch, by date and id."""
    event_dates: tuple[datetime, ...] = ()
    """Date of each event, paired with `event_ids`."""
    event_from: tuple[datetime, ...] = ()
    """Last day on which each slide was not there yet, midnight UTC, paired with `event_ids`: the day before its date
    where the inventory gives no interval."""
    event_to: tuple[datetime, ...] = ()
    """First day on which each slide was there for certain, midnight UTC, paired with `event_ids`: the day after its
    date where the inventory gives no interval."""
    lattice_x: int | None = None
    """Column on the absolute lattice: left edge = anchor + lattice_x · step; None off the lattice."""
    lattice_y: int | None = None
    """Row on the absolute lattice, counted northwards; None off the lattice."""
