"""When the satellites came by: what a pass is, and the passes from December 2021 to February 2022.

Orbit numbers and days are counted on from real products with the repeat cycles; times of day are approximate.
Sentinel-2 sees the area from relative orbit 79 every five days (S2A, S2B in turn) and, at the edge of the swath,
from orbit 36. Each Sentinel-1 sees it every twelve days from orbits 44 (ascending) and 124 (descending); 1B flew six
days apart from 1A, and failed in December 2021.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

Level = Literal["1C", "2A"]

EVENT_DATE = date(2022, 1, 10)
"""Day on which every slide of the archive came down."""
_BASELINES = ((date(2022, 1, 25), "04.00"), (date(2021, 6, 30), "03.01"), (date(2021, 3, 30), "03.00"))
"""First day of sensing of each processing baseline, latest first; from 04.00 on, digital numbers carry +1000."""
_EARLIER: Mapping[Level, str] = {"1C": "02.09", "2A": "02.14"}
"""Baseline before all of them."""
_OPTICAL_CYCLE = (10, 143)
_RADAR_CYCLE = (12, 175)
"""Days and orbits until a satellite flies over the same ground again."""
_OPTICAL_ORBITS = {
    ("A", 79): (date(2021, 12, 23), 33_967), ("B", 79): (date(2021, 12, 18), 24_987),
    ("A", 36): (date(2022, 1, 19), 34_353), ("B", 36): (date(2022, 1, 4), 25_230),
}  # fmt: skip
_RADAR_ORBITS = {
    ("A", 44): (datetime(2021, 12, 6, 16, 55, 28, 310_000, UTC), 40_891),
    ("B", 44): (datetime(2021, 12, 12, 16, 54, 46, 905_000, UTC), 29_995),
    ("A", 124): (datetime(2021, 12, 12, 5, 4, 51, 872_000, UTC), 40_971),
    ("B", 124): (datetime(2021, 12, 6, 5, 4, 9, 634_000, UTC), 29_900),
}
"""A day on which each satellite flew over on a relative orbit, and the absolute orbit of that day."""
_SENSED = {79: time(10, 0, 10, 441_000, UTC), 36: time(9, 50, 10, 441_000, UTC)}
"""When Sentinel-2 senses the area, by relative orbit."""
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

    def baseline(self, level: Level) -> str:
        """Return the processing baseline of a level, as `03.01`."""
        return next((name for first, name in _BASELINES if self.start.date() >= first), _EARLIER[level])

    @property
    def offset(self) -> int:
        """What is added to reflectance times 10,000 in the digital numbers."""
        return 1000 if self.baseline("2A") == "04.00" else 0

    @property
    def is_after_event(self) -> bool:
        """True when the slides have come down."""
        return self.start.date() > EVENT_DATE

    @property
    def sensed(self) -> datetime:
        """When the area itself was sensed."""
        return datetime.combine(self.start.date(), _SENSED[self.relative_orbit])


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarPass:
    """One Sentinel-1 pass over the area."""

    sensed: datetime
    """When the middle of the scene was sensed; there two frames meet if the pass is split."""
    unit: str
    """A or B."""
    orbit_state: str
    relative_orbit: int
    absolute_orbit: int
    dampness: float
    """How much brighter wet ground makes the whole image [dB]."""
    is_split: bool = True
    """True: two frames meet inside the scene. False: one frame holds all of it."""

    @property
    def is_after_event(self) -> bool:
        """True when the slides have come down."""
        return self.sensed.date() > EVENT_DATE

    @property
    def heading(self) -> float:
        """Direction of flight, clockwise from north [degrees]."""
        return -12.0 if self.orbit_state == "ascending" else 192.0


def optical_pass(day: date, orbit: int, clocks: Mapping[str, str], **weather: float) -> OpticalPass:
    """Return the datatake of `day` from a relative orbit; the repeat cycle says by which satellite.

    Parameters
    ----------
    day : date
        A day on which Sentinel-2 flies over.
    orbit : int
        Relative orbit: 79 or 36.
    clocks : mapping of str to str
        Time of day at which the datatake of each unit starts.
    weather : float
        `cloud`, `cirrus`, `snow_line` and `swath_edge` of `OpticalPass`.

    Raises
    ------
    ValueError
        No satellite flies over on that day.
    """
    days, orbits = _OPTICAL_CYCLE
    for unit, clock in clocks.items():
        known, absolute = _OPTICAL_ORBITS[unit, orbit]
        cycles, rest = divmod((day - known).days, days)
        if not rest:
            return OpticalPass(
                start=datetime.combine(day, time.fromisoformat(clock)),
                unit=unit,
                relative_orbit=orbit,
                absolute_orbit=absolute + cycles * orbits,
                **({"cloud": 0.0} | weather),
            )
    raise ValueError(f"Sentinel-2 does not fly over from orbit {orbit} on {day}")


def radar_pass(day: date, orbit: int, dampness: float, *, is_split: bool = True) -> RadarPass:
    """Return the pass of `day` on relative orbit 44 or 124; the repeat cycle says by which satellite.

    Raises
    ------
    ValueError
        No satellite flies over on that day.
    """
    days, orbits = _RADAR_CYCLE
    for unit in "AB":
        known, absolute = _RADAR_ORBITS[unit, orbit]
        cycles, rest = divmod((day - known.date()).days, days)
        if not rest:
            return RadarPass(
                sensed=known + timedelta(days=cycles * days),
                unit=unit,
                orbit_state="ascending" if orbit == 44 else "descending",
                relative_orbit=orbit,
                absolute_orbit=absolute + cycles * orbits,
                dampness=dampness,
                is_split=is_split,
            )
    raise ValueError(f"Sentinel-1 does not fly over from orbit {orbit} on {day}")


def _winter(day: str, orbit: int, **weather: float) -> OpticalPass:
    clocks = {79: {"A": "09:53:51.024Z", "B": "09:52:49.024Z"}, 36: {"A": "09:43:51.024Z", "B": "09:42:49.024Z"}}
    return optical_pass(date.fromisoformat(day), orbit, clocks[orbit], **weather)


OPTICAL = (
    _winter("2021-12-18", 79, cloud=0.55, snow_line=1200),
    _winter("2021-12-23", 79, snow_line=1210),
    _winter("2021-12-28", 79, cloud=0.95, snow_line=1150),
    _winter("2022-01-02", 79, cloud=0.14, cirrus=0.12, snow_line=1170),
    _winter("2022-01-04", 36, cloud=0.22, snow_line=1180, swath_edge=499_400),
    _winter("2022-01-07", 79, snow_line=1200),
    _winter("2022-01-12", 79, cloud=0.91, snow_line=1000),
    _winter("2022-01-17", 79, snow_line=1050),
    _winter("2022-01-19", 36, cloud=0.05, cirrus=0.10, snow_line=1070, swath_edge=499_400),
    _winter("2022-01-22", 79, cloud=0.36, snow_line=1090),
    _winter("2022-01-27", 79, cloud=0.08, snow_line=1120),
    _winter("2022-02-01", 79, snow_line=1140),
)
"""Twelve datatakes: six before the event and six after it, two of each half without a cloud."""


def _repeats(first: date, orbit: int, dampness: tuple[float, ...]) -> list[RadarPass]:
    return [radar_pass(first + timedelta(days=12 * repeat), orbit, damp) for repeat, damp in enumerate(dampness)]


RADAR = (
    *_repeats(date(2021, 12, 6), 44, (0.2, 0.5, -0.2, 0.9, 0.1, -0.3)),
    *_repeats(date(2021, 12, 12), 124, (0.4, -0.1, 0.3, 0.6, 0.0, -0.2)),
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
