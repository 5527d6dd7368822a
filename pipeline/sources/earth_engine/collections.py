"""What Earth Engine's collections are called, what their bands are, and what their numbers mean.

Facts are those of the Earth Engine data catalogue, developers.google.com/earth-engine/datasets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import RecipeError
from pipeline.records import Product

Encoding = Literal["uint8", "uint16", "float32"]

SCHEME = "ee://"
CLASSES = "SCL"
"""Band of the scene classification."""

DEFAULT_COLLECTIONS: Mapping[str, str] = {
    "S2L2A": "COPERNICUS/S2_SR_HARMONIZED",
    "S2L1C": "COPERNICUS/S2_HARMONIZED",
    "S1": "COPERNICUS/S1_GRD",
    "DEM": "COPERNICUS/DEM/GLO30",
    "LULC": "MODIS/061/MCD12Q1",
}
"""Collection of each product where the recipe names none: those that the published datasets were made from, the
Sentinel-2 ones without the offset that products carry since processing baseline 04.00."""

OFFSET_FREE = ("COPERNICUS/S2_HARMONIZED", "COPERNICUS/S2_SR_HARMONIZED")
"""Collections whose numbers Earth Engine has freed of the offset already."""

DECIBEL = ("COPERNICUS/S1_GRD",)
"""Collections whose numbers are decibels already; COPERNICUS/S1_GRD_FLOAT holds linear power."""

_SENTINEL2_BANDS = {
    f"B{number:02d}": f"B{number}" for number in range(1, 13)
} | {"B8A": "B8A", "SCL": "SCL"}  # fmt: skip
_BANDS: Mapping[Product, Mapping[str, str]] = {
    "S2L2A": {name: band for name, band in _SENTINEL2_BANDS.items() if name != "B10"},
    "S2L1C": {name: band for name, band in _SENTINEL2_BANDS.items() if name != "SCL"},
    "S1": {"vv": "VV", "vh": "VH"},
    "DEM": {"DEM": "DEM"},
}
_LAND_COVER_BANDS: Mapping[str, str] = {
    "MODIS/061/MCD12Q1": "LC_Type1",
    "ESA/WorldCover/v100": "Map",
    "ESA/WorldCover/v200": "Map",
    "GOOGLE/DYNAMICWORLD/V1": "label",
}
"""Class band of collections of land cover; of others the recipe names it."""
_MARK = "!"


@dataclass(frozen=True, slots=True)
class BandReference:
    """One band of one image, or of several of which the first with data wins."""

    assets: tuple[str, ...]
    """Asset ids, best first."""
    band: str
    stated: Encoding | None = None
    """Dtype that the reference states; None where the collection decides."""

    @property
    def collection(self) -> str:
        """Collection of the first image."""
        return self.assets[0].rpartition("/")[0]

    @property
    def is_classification(self) -> bool:
        """Whether the band is the scene classification, whose class 0 is no data."""
        return self.band == CLASSES and self.stated is None

    @property
    def encoding(self) -> Encoding:
        """NumPy dtype that the band's numbers are asked for in; it holds all of them exactly."""
        if self.stated or self.is_classification:
            return self.stated or "uint8"
        return "uint16" if self.collection.startswith("COPERNICUS/S2") else "float32"

    @property
    def href(self) -> str:
        """The same as text."""
        stated = f"{_MARK}{self.stated}" if self.stated else ""
        return f"{SCHEME}{','.join(self.assets)}#{self.band}{stated}"


def parse_href(href: str) -> BandReference:
    """Read a reference like `ee://COPERNICUS/S2_SR_HARMONIZED/20220107T095351_20220107T095420_T33SVC#B4`.

    Raises
    ------
    RecipeError
        It is no reference of this source: the plan was made with another one.
    """
    assets, mark, band = href.removeprefix(SCHEME).partition("#")
    if not href.startswith(SCHEME) or not mark or not assets or not band:
        raise RecipeError(f"{href} is not in Earth Engine: the plan was made with another --source; plan again")
    name, _, stated = band.partition(_MARK)
    encoding: Encoding | None = next((known for known in get_args(Encoding) if known == stated), None)
    return BandReference(tuple(assets.split(",")), name, encoding)


def bands_of(product: Product) -> Mapping[str, str]:
    """Return Earth Engine's name of every band of `product` by this package's name."""
    return _BANDS[product]


def land_cover(collection: str) -> tuple[str, str]:
    """Return collection and class band of land cover, as `collections.LULC` names them.

    Raises
    ------
    RecipeError
        The band is neither known nor named.
    """
    name, _, band = collection.partition("#")
    band = band or _LAND_COVER_BANDS.get(name, "")
    if not band:
        raise RecipeError(f"collections.LULC: name the class band of {name} after #, as {name}#classification")
    return name, band
