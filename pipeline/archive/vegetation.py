"""What the covers reflect on a given day: growth through the archive's winter, or through a whole year.

The year is that of a mountain in the Mediterranean: half of the forest is bare from December to March, pastures are
lush from April to July, fields are green in spring and straw in summer.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np

from pipeline.archive.passes import OPTICAL, OpticalPass
from pipeline.archive.surface import COVERS, SPECTRA

Spectra = Mapping[str, tuple[float, ...]]
"""Reflectance of each cover in the order of the bands of S2L2A [1]."""
_GREENING = {"meadow": 0.16, "field": 0.22}
"""How far new growth moves a cover's spectrum over the season of the landslide archive [1]."""
_STATES = {
    "bare": (0.032, 0.040, 0.058, 0.064, 0.095, 0.138, 0.155, 0.166, 0.182, 0.190, 0.192, 0.118),
    "lush": (0.020, 0.024, 0.056, 0.028, 0.092, 0.295, 0.385, 0.415, 0.430, 0.415, 0.180, 0.082),
    "straw": (0.070, 0.086, 0.128, 0.168, 0.206, 0.242, 0.264, 0.286, 0.306, 0.312, 0.372, 0.262),
}
"""Surface reflectance [1] of leafless wood, of dense new green and of dry grass, as in `SPECTRA`."""
_YEAR = (
    ("forest", "bare", (0.50, 0.50, 0.45, 0.25, 0.05, 0.00, 0.00, 0.00, 0.00, 0.05, 0.20, 0.40)),
    ("forest", "lush", (0.00, 0.00, 0.00, 0.05, 0.25, 0.35, 0.30, 0.25, 0.20, 0.10, 0.00, 0.00)),
    ("meadow", "lush", (0.00, 0.05, 0.15, 0.45, 0.70, 0.65, 0.45, 0.30, 0.20, 0.15, 0.10, 0.00)),
    ("scrub", "lush", (0.00, 0.00, 0.05, 0.15, 0.20, 0.20, 0.10, 0.05, 0.00, 0.00, 0.00, 0.00)),
    ("field", "lush", (0.15, 0.30, 0.50, 0.60, 0.30, 0.00, 0.00, 0.00, 0.00, 0.00, 0.05, 0.10)),
    ("field", "straw", (0.00, 0.00, 0.00, 0.00, 0.15, 0.45, 0.70, 0.70, 0.60, 0.40, 0.20, 0.05)),
)
"""How much of a cover is in which state in the middle of each month, January first [1]."""


def spectra_of_winter(taken: OpticalPass) -> Spectra:
    """Return the spectra of one datatake of the landslide archive: new growth from its first day to its last."""
    growth = (taken.start - OPTICAL[0].start).days / (OPTICAL[-1].start - OPTICAL[0].start).days

    def grown(name: str, number: int) -> float:
        green = -1.0 if number in (1, 3, 10, 11) else (1.0 if number in (6, 7, 8, 9) else 0.0)
        return SPECTRA[name][number] * (1 + green * growth * _GREENING.get(name, 0.0))

    return {name: tuple(grown(name, number) for number in range(len(SPECTRA[name]))) for name in COVERS}


def spectra_of_day(day: date) -> Spectra:
    """Return the spectra of one day of the year."""
    month = (day.timetuple().tm_yday - 15.5) / 365.25 * 12
    spectra = {name: np.array(SPECTRA[name]) for name in COVERS}
    for name, state, shares in _YEAR:
        share = np.interp(month, np.arange(12), shares, period=12)
        spectra[name] = spectra[name] + share * (np.array(_STATES[state]) - np.array(SPECTRA[name]))
    return {name: tuple(values.tolist()) for name, values in spectra.items()}
