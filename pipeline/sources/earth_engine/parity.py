"""How Earth Engine's collections differ from those of STAC catalogues: stated in every dataset that is made of them.

Sources: Earth Engine data catalogue, pages of the collections; guide "Sentinel-1 Algorithms"
(developers.google.com/earth-engine/guides/sentinel1).
"""

from collections.abc import Iterable, Mapping, Sequence

from pipeline.sources.earth_engine.collections import SCHEME, parse_href

_SIGMA = "sigma nought on the ellipsoid, orthorectified, not corrected for terrain slope"
_CHAIN = (
    "Earth Engine's chain: orbit file, GRD border noise removal, thermal noise removal, calibration, orthorectified"
)
_HARMONIZED = "Earth Engine removed the offset of baseline 04.00 and clamped what fell below 0 to 0"

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "COPERNICUS/S1_GRD": {"quantity": f"{_SIGMA}, dB as Earth Engine holds it", "note": _CHAIN},
    "COPERNICUS/S1_GRD_FLOAT": {"quantity": f"{_SIGMA}, 10 log10 of linear power", "note": _CHAIN},
    "COPERNICUS/S2_SR_HARMONIZED": {"note": _HARMONIZED},
    "COPERNICUS/S2_HARMONIZED": {"note": _HARMONIZED},
}

_NOTES: Mapping[str, str] = {
    "COPERNICUS/S1_GRD": (
        "Sentinel-1 is sigma nought of ground range products, without radiometric terrain correction: slopes towards "
        "the radar are brighter than in gamma nought RTC of STAC catalogues, and the two must not be mixed. Values are "
        "Earth Engine's own decibels; what is resampled is resampled in decibels."
    ),
    "COPERNICUS/S1_GRD_FLOAT": (
        "Sentinel-1 is sigma nought of ground range products, without radiometric terrain correction: slopes towards "
        "the radar are brighter than in gamma nought RTC of STAC catalogues, and the two must not be mixed. Linear "
        "power was resampled, then taken to decibels by this program."
    ),
    "COPERNICUS/S2_SR_HARMONIZED": (
        f"Sentinel-2: {_HARMONIZED}, while numbers of STAC catalogues keep negative reflectance; all else is equal. "
        "The collection has gaps before December 2018."
    ),
    "COPERNICUS/DEM/GLO30": (
        "Elevation is GLO-30 as Earth Engine holds it: countries that GLO-30 leaves out are missing here, too."
    ),
}


def attributes_of(hrefs: Iterable[str]) -> Mapping[str, str]:
    """Return what the bands of a shard must say of their source, by the first reference; nothing for other sources."""
    first = next(iter(hrefs), "")
    return ATTRIBUTES.get(parse_href(first).collection, {}) if first.startswith(SCHEME) else {}


def notes_on(collections: Iterable[str]) -> Sequence[str]:
    """Return the differences to a dataset made from STAC catalogues, one for each collection that has any."""
    return [_NOTES[collection] for collection in sorted(set(collections)) if collection in _NOTES]
