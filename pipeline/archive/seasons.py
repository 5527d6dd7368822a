"""When the satellites came by in the year of the seasonal archive, what it lacks on purpose, and its places.

Around each of 2020-12-21, 2021-03-20, 06-21, 09-22 and 12-21 there are two clear dates, around all but the first a
cloudy one, and four radar passes 6 and 12 days apart. Around March only Sentinel-1B flew over, around September only
1A, so the order of product names is never the order of time. In January 2022 the digital numbers change by +1000.
"""

from collections.abc import Mapping
from datetime import date

from pipeline.archive.area import Window
from pipeline.archive.passes import Level, OpticalPass, RadarPass, optical_pass, radar_pass

PATCH = 2640
"""Edge of a patch: 264 pixels of 10 m [m]."""
_WINTER: Mapping[int, Mapping[str, str]] = {
    79: {"A": "09:54:11.024Z", "B": "09:53:09.024Z"},
    36: {"A": "09:44:11.024Z", "B": "09:43:09.024Z"},
}
_SUMMER: Mapping[int, Mapping[str, str]] = {79: {"A": "09:50:31.024Z", "B": "09:50:29.024Z"}}
"""When a datatake starts, by relative orbit and unit: earlier from March to October."""
_NO_SNOW = 9000.0


def _optical(day: str, orbit: int = 79, *, snow_line: float = _NO_SNOW, **weather: float) -> OpticalPass:
    when = date.fromisoformat(day)
    clocks = _SUMMER if 3 <= when.month <= 10 else _WINTER
    return optical_pass(when, orbit, clocks[orbit], snow_line=snow_line, **weather)


def _radar(day: str, orbit: int, dampness: float) -> RadarPass:
    return radar_pass(date.fromisoformat(day), orbit, dampness, is_split=orbit == 124)


OPTICAL = (
    _optical("2020-12-03", cloud=0.04, snow_line=1080),
    _optical("2020-12-23", snow_line=900),
    _optical("2021-03-03", cloud=0.03, cirrus=0.04, snow_line=1000),
    _optical("2021-03-18", cloud=0.55, snow_line=1120),
    _optical("2021-03-28", snow_line=1230),
    _optical("2021-06-06"),
    _optical("2021-06-21", cloud=0.45, cirrus=0.15),
    _optical("2021-07-01", cloud=0.04),
    _optical("2021-09-09", cloud=0.05),
    _optical("2021-09-24"),
    _optical("2021-10-04", cloud=0.75),
    _optical("2021-12-08", snow_line=960),
    _optical("2021-12-18", cloud=0.55, snow_line=1200),
    _optical("2021-12-20", 36, cirrus=0.08, snow_line=1190, swath_edge=500_600),
    _optical("2022-01-27", cloud=0.03, snow_line=1000),
)
"""Fifteen datatakes; that of orbit 36 sees the western tile in part."""

LACKING: Mapping[Level, tuple[date, str]] = {"1C": (date(2021, 3, 28), "33SVC"), "2A": (date(2021, 9, 24), "33SWC")}
"""Day and tile of the one product that each level lacks, both on clear days; the other tile has both levels."""

RADAR = (
    _radar("2020-12-05", 44, 0.3), _radar("2020-12-11", 124, 0.6),
    _radar("2020-12-23", 44, 0.1), _radar("2020-12-29", 124, 0.5),
    _radar("2021-03-05", 124, 0.3), _radar("2021-03-11", 44, 0.6),
    _radar("2021-03-23", 44, 0.0), _radar("2021-03-29", 124, 0.2),
    _radar("2021-06-03", 44, 0.0), _radar("2021-06-15", 124, -0.2),
    _radar("2021-06-21", 124, -0.3), _radar("2021-07-03", 44, -0.4),
    _radar("2021-09-07", 124, -0.5), _radar("2021-09-13", 44, -0.3),
    _radar("2021-09-25", 44, -0.2), _radar("2021-10-01", 124, 0.2),
    _radar("2021-12-06", 44, 0.2), _radar("2021-12-12", 44, 0.5),
    _radar("2021-12-18", 124, 0.4), _radar("2021-12-24", 124, -0.1),
    _radar("2022-01-23", 44, 0.1), _radar("2022-01-29", 124, 0.0),
)  # fmt: skip
"""Twenty-two passes; the descending ones are split in two frames inside the scene."""

PLACES = {
    "0217588": (497_460, 4_203_840), "0011399": (500_180, 4_203_800),
    "0147156": (502_870, 4_203_770), "0066864": (505_550, 4_203_830),
    "0113447": (497_530, 4_200_970), "0159236": (500_230, 4_201_010),
    "0009939": (503_210, 4_200_950), "0235029": (506_390, 4_201_050),
}  # fmt: skip
"""Left and top edge [m] of each patch by id, row by row.

They do not overlap; the third lies in neither tile alone. With the recipe's seed, 42, the preset ssl4eo-v1.0 moves
the windows of these ids by 27, 24, 10, 20, 6, 3, 17 and 13 days, and so finds images.
"""


def patch_of(place: str) -> Window:
    """Return the patch of a place."""
    left, top = PLACES[place]
    return Window(left=left, top=top, width=PATCH, height=PATCH)
