"""Bands and modalities: the store table of the canonical layout, as data.

Band names are ESA's; resolutions are those of the Sentinel-2 MSI and of Copernicus DEM GLO-30. Dtypes, no-data and
time axis follow SSL4EO-S12 v1.1 where it has the modality.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import RecipeError

S2_NODATA = -32768
"""No data of stored Sentinel-2 digital numbers; declared in an attribute of ours, never as `_FillValue`."""

Product = str
"""What a provider is asked for: one of `PRODUCTS`, from which several modalities may be cut, or the name of a modality
that the recipe describes itself."""

PRODUCTS = ("S2L2A", "S2L1C", "S1", "DEM", "LULC", "LABELS")
"""Products that this package knows; labels come from no provider."""

Resampling = Literal["nearest", "bilinear", "cubic", "average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band as the sensor delivers it."""

    name: str
    resolution: int
    """Native pixel size [m]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """One folder of the store: what its `bands` array holds and where it comes from."""

    name: str
    product: Product
    bands: tuple[Band, ...]
    dtype: str
    """NumPy dtype of `bands` on disk."""
    nodata: float | None
    """Value that marks no data; None where every value is valid."""
    unit: str
    """UDUNITS-like unit of the stored numbers."""
    is_series: bool = True
    """True: a time axis of the series' length. False: static, a time axis of 1."""
    is_paired: bool = False
    """True: a series in the order of the optical images that its own are paired with; they may repeat."""
    orbit_state: str | None = None
    """Sentinel-1 only: the pass direction that this modality keeps; 'unknown' where the item does not say, None for
    any."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Every band that this modality can hold, in storage order."""
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> Band:
        """Return the band called `name`; raises RecipeError when the modality has none."""
        for band in self.bands:
            if band.name == name:
                return band
        raise RecipeError(f"{self.name} has no band {name}; it has {', '.join(self.band_names)}")


def _bands(**resolutions: int) -> tuple[Band, ...]:
    return tuple(Band(name=name, resolution=resolution) for name, resolution in resolutions.items())


_S2L2A_BANDS = _bands(B01=60, B02=10, B03=10, B04=10, B05=20, B06=20, B07=20, B08=10, B8A=20, B09=60, B11=20, B12=20)
_S2L1C_BANDS = _bands(
    B01=60, B02=10, B03=10, B04=10, B05=20, B06=20, B07=20, B08=10, B8A=20, B09=60, B10=60, B11=20, B12=20
)
_S1_BANDS = _bands(vv=10, vh=10)


def _sentinel1(name: str, orbit_state: str) -> Modality:
    return Modality(
        name=name, product="S1", bands=_S1_BANDS, dtype="float32", nodata=float("nan"), unit="dB",
        orbit_state=orbit_state,
    )  # fmt: skip


MODALITIES: dict[str, Modality] = {
    "S2L2A": Modality(
        name="S2L2A", product="S2L2A", bands=_S2L2A_BANDS, dtype="int16", nodata=S2_NODATA, unit="1e-4"
    ),
    "S2L1C": Modality(
        name="S2L1C", product="S2L1C", bands=_S2L1C_BANDS, dtype="int16", nodata=S2_NODATA, unit="1e-4"
    ),
    "S2RGB": Modality(
        name="S2RGB", product="S2L2A", bands=_bands(B04=10, B03=10, B02=10), dtype="uint8", nodata=0, unit="1"
    ),
    "S1GRD": Modality(
        name="S1GRD", product="S1", bands=_S1_BANDS, dtype="float16", nodata=float("nan"), unit="dB", is_paired=True
    ),
    "SCL": Modality(
        name="SCL", product="S2L2A", bands=_bands(SCL=20), dtype="uint8", nodata=0, unit="1"
    ),
    "S1ASC": _sentinel1("S1ASC", "ascending"),
    "S1DSC": _sentinel1("S1DSC", "descending"),
    "S1RTC": _sentinel1("S1RTC", "unknown"),
    "DEM": Modality(
        name="DEM", product="DEM", bands=_bands(DEM=30), dtype="float32", nodata=float("nan"), unit="m",
        is_series=False,
    ),
    "LULC": Modality(
        name="LULC", product="LULC", bands=_bands(LULC=10), dtype="uint8", nodata=255, unit="1", is_series=False
    ),
    "MASK": Modality(
        name="MASK", product="LABELS", bands=_bands(MASK=10), dtype="uint8", nodata=None, unit="1",
        is_series=False,
    ),
    "MASK_FRACTION": Modality(
        name="MASK_FRACTION", product="LABELS", bands=_bands(MASK_FRACTION=10), dtype="float32", nodata=None, unit="1",
        is_series=False,
    ),
    "MASK_SERIES": Modality(
        name="MASK_SERIES", product="LABELS", bands=_bands(MASK_SERIES=10), dtype="uint8", nodata=255, unit="1"
    ),
}  # fmt: skip
"""Every modality by name: what a recipe may ask for."""


def store_order(name: str) -> tuple[int, str]:
    """Return what modalities are ordered by: the store table's order, then those of recipes' own by name."""
    names = list(MODALITIES)
    return (names.index(name), "") if name in MODALITIES else (len(names), name)
