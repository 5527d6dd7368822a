"""When the satellites came by, from December 2021 to February 2022.

Orbit numbers and days are counted on from real products with the repeat cycles; times of day are approximate.
Sentinel-2 sees the area from relative orbit 79 every five days (S2A, S2B in turn) and, at the edge of the swath,
from orbit 36. The radar is Sentinel-1A alone (1B failed in December 2021), every twelve days from orbits 44
(ascending) and 124 (descending).
"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

EVENT_DATE = date(2022, 1, 10)
"""Day on which every slide of the archive came down."""
_BASELINE_CHANGE = date(2022, 1, 25)
"""From this day of sensing on, digital numbers carry +1000 (processing baseline 04.00)."""
_LON, _LAT = 15.03, 37.95


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalPass:
    """One Sentinel-2 datatake over the area."""

    start: datetime
    """Start of the datatake, the time in the product's name."""
    unit: str
    """A or B."""
    relative_orbit: int
    absolute_orbit: int
    cloud: float
    """Share of the canvas under cloud [1]."""
    cirrus: float = 0.0
    """Share of the canvas under thin cirrus [1]."""
    snow_line: float
    """Height above which half of the ground is white [m]."""
    swath_edge: float | None = None
    """Easting at which the swath's western edge crosses the middle of the scene [m]; None: all is seen."""

    @property
    def baseline(self) -> str:
        """Processing baseline, as `03.01`."""
        return "04.00" if self.start.date() >= _BASELINE_CHANGE else "03.01"

    @property
    def offset(self) -> int:
        """What is added to reflectance times 10,000 in the digital numbers."""
        return 1000 if self.baseline == "04.00" else 0

    @property
    def is_after_event(self) -> bool:
        """True when the slides have come down."""
        return self.start.date() > EVENT_DATE

    @property
    def sensed(self) -> datetime:
        """When the area itself was sensed."""
        return self.start + timedelta(minutes=6, seconds=19 if self.unit == "A" else 81, milliseconds=417)


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarPass:
    """One Sentinel-1 pass over the area."""

    sensed: datetime
    """When the seam of its two frames was sensed."""
    orbit_state: str
    relative_orbit: int
    absolute_orbit: int
    dampness: float
    """How much brighter wet ground makes the whole image [dB]."""

    @property
    def is_after_event(self) -> bool:
        """True when the slides have come down."""
        return self.sensed.date() > EVENT_DATE

    @property
    def heading(self) -> float:
        """Direction of flight, clockwise from north [degrees]."""
        return -12.0 if self.orbit_state == "ascending" else 192.0


def _optical(day: str, unit: str, orbit: int, absolute: int, **weather: float) -> OpticalPass:
    clock = {("A", 79): "09:53:51", ("B", 79): "09:52:49", ("A", 36): "09:43:51", ("B", 36): "09:42:49"}
    start = datetime.fromisoformat(f"{day}T{clock[unit, orbit]}.024+00:00")
    return OpticalPass(
        start=start, unit=unit, relative_orbit=orbit, absolute_orbit=absolute, **({"cloud": 0.0} | weather)
    )


OPTICAL = (
    _optical("2021-12-18", "B", 79, 24987, cloud=0.55, snow_line=1200),
    _optical("2021-12-23", "A", 79, 33967, snow_line=1210),
    _optical("2021-12-28", "B", 79, 25130, cloud=0.95, snow_line=1150),
    _optical("2022-01-02", "A", 79, 34110, cloud=0.14, cirrus=0.12, snow_line=1170),
    _optical("2022-01-04", "B", 36, 25230, cloud=0.22, snow_line=1180, swath_edge=499_400),
    _optical("2022-01-07", "B", 79, 25273, snow_line=1200),
    _optical("2022-01-12", "A", 79, 34253, cloud=0.91, snow_line=1000),
    _optical("2022-01-17", "B", 79, 25416, snow_line=1050),
    _optical("2022-01-19", "A", 36, 34353, cloud=0.05, cirrus=0.10, snow_line=1070, swath_edge=499_400),
    _optical("2022-01-22", "A", 79, 34396, cloud=0.36, snow_line=1090),
    _optical("2022-01-27", "B", 79, 25559, cloud=0.08, snow_line=1120),
    _optical("2022-02-01", "A", 79, 34539, snow_line=1140),
)
"""Twelve datatakes: six before the event and six after it, two of each half without a cloud."""


def _radar(orbit_state: str, first: str, orbit: int, absolute: int, dampness: tuple[float, ...]) -> list[RadarPass]:
    start = datetime.fromisoformat(first)
    return [
        RadarPass(
            sensed=start + timedelta(days=12 * repeat),
            orbit_state=orbit_state,
            relative_orbit=orbit,
            absolute_orbit=absolute + 175 * repeat,
            dampness=damp,
        )
        for repeat, damp in enumerate(dampness)
    ]


RADAR = (
    *_radar("ascending", "2021-12-06T16:55:28.310+00:00", 44, 40891, (0.2, 0.5, -0.2, 0.9, 0.1, -0.3)),
    *_radar("descending", "2021-12-12T05:04:51.872+00:00", 124, 40971, (0.4, -0.1, 0.3, 0.6, 0.0, -0.2)),
)
"""Six passes of each direction, three before the event and three after it."""


def sun(when: datetime) -> tuple[float, float]:
    """Return azimuth and elevation of the sun over the area [degrees], good to about half a degree."""
    day = when.astimezone(UTC).timetuple().tm_yday
    season = 2 * math.pi * (day - 81) / 364
    equation = 9.87 * math.sin(2 * season) - 7.53 * math.cos(season) - 1.5 * math.sin(season)
    hours = when.hour + when.minute / 60 + when.second / 3600 + _LON / 15 + equation / 60
    angle = math.radians(15 * (hours - 12))
    declination = math.radians(-23.44 * math.cos(2 * math.pi * (day + 10) / 365))
    lat = math.radians(_LAT)
    sine = math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(angle)
    elevation = math.asin(sine)
    east = -math.cos(declination) * math.sin(angle)
    north = math.cos(lat) * math.sin(declination) - math.sin(lat) * math.cos(declination) * math.cos(angle)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(elevation)
