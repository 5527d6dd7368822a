"""From the ground to the top of the atmosphere: what Level-1C has more, and less, than Level-2A.

Single scattering after Rayleigh, optical depths of molecules after Bodhaine et al. (1999) at sea level and of a clean
continental aerosol (0.1 at 550 nm); water vapour, ozone and carbon dioxide as one transmission each band.
"""

import math

import numpy as np

from pipeline.archive.clouds import Sky
from pipeline.archive.noise import Field

_OPTICS = {
    "B01": (0.236, 0.130, 1.00), "B02": (0.155, 0.115, 0.99), "B03": (0.090, 0.098, 0.95), "B04": (0.045, 0.078, 0.96),
    "B05": (0.035, 0.073, 0.97), "B06": (0.029, 0.068, 0.98), "B07": (0.023, 0.063, 0.99), "B08": (0.018, 0.057, 0.95),
    "B8A": (0.016, 0.055, 0.99), "B09": (0.011, 0.050, 0.45), "B11": (0.001, 0.025, 0.97), "B12": (0.000, 0.017, 0.94),
}  # fmt: skip
"""Optical depth of molecules and of aerosol, and transmission of gases straight down, by band [1]."""
_AEROSOL_BACK = 0.25
"""Phase function of aerosol at the angles between sun and a sensor overhead [1]."""
_LOST = (0.5, 0.16)
"""Share of what molecules and aerosol scatter that does not go on in its direction [1]."""


def top_of_atmosphere(reflectance: Field, band: str, elevation: float) -> Field:
    """Return what the sensor measures before atmospheric correction.

    Parameters
    ----------
    reflectance : float32, any shape
        Of the surface, or of the cloud above it [1].
    band : str
        A band of S2L2A.
    elevation : float
        Of the sun above the horizon [degrees].

    Returns
    -------
    float32, shape of `reflectance`
        Reflectance [1]: dimmed on its way down and up, and with the light that the air itself sends back.
    """
    molecules, aerosol, gases = _OPTICS[band]
    sun = math.sin(math.radians(elevation))
    way = 1 / sun + 1
    path = (molecules * 0.75 * (1 + sun**2) + aerosol * _AEROSOL_BACK) / (4 * sun)
    passed = math.exp(-way * (_LOST[0] * molecules + _LOST[1] * aerosol))
    seen: Field = np.float32(gases ** (way / 2)) * (np.float32(path) + np.float32(passed) * reflectance)
    return seen


def cirrus_band(sky: Sky, generator: np.random.Generator) -> Field:
    """Return B10 at the pixel size of `sky`: dark, because water vapour hides all that lies below the cirrus [1]."""
    signal = np.float32(0.0012) + np.float32(0.11) * sky.cirrus + np.float32(0.0015) * sky.cloud * sky.glow
    noise = generator.standard_normal(signal.shape, np.float32) * np.float32(0.0002)
    return signal + noise
