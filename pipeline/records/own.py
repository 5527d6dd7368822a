"""Modalities of a user's own: any collection of a source, described in the recipe."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.records.modality import Band, Modality, Resampling
from pipeline.records.model import Model

BandName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ModalityName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,31}$")]


LIMITS = {"uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}
"""Smallest and largest number of the integers that a modality may be stored as."""


class QualityMask(Model):
    """Bits of a quality band that hide a pixel."""

    band: BandName = Field(description="Band of the same collection, as QA_PIXEL.")
    bits: tuple[Annotated[int, Field(ge=0, le=15)], ...] = Field(
        min_length=1, description="Numbers of its bits, 0 the lowest: where any is set, the pixel is no data."
    )


class OwnModality(Model):
    """One folder of the store that is cut from a collection of the user's choice.

    Pixels are read as 32-bit floats, which hold every number of up to 24 bits exactly, and stored as `dtype`; a number
    that `dtype` does not hold stops the build.
    """

    collection: str = Field(min_length=1, description="Collection of the source, as LANDSAT/LC08/C02/T1_L2.")
    bands: dict[BandName, Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Its bands (STAC: assets) with the size of their pixels [m], in storage order."
    )
    dtype: Literal["uint8", "int16", "uint16", "float32"] = Field(description="Type of the stored numbers.")
    nodata: int | None = Field(default=None, description="Stored where there is no data; of float32 it is NaN.")
    unit: str = Field(default="1", description="Unit of the stored numbers.")
    quantity: str = Field(default="numbers as the collection holds them", description="What they are, in words.")
    attribution: str = Field(default="", description="What the collection's licence asks to be said.")
    resolution: float | None = Field(
        default=None, gt=0, description="Pixel size [m]; the patch keeps its extent. Null takes the recipe's."
    )
    resampling: Resampling = Field(default="nearest", description="Off-grid bands; the quality band is nearest.")
    time: Literal["date", "frames", "series"] = Field(
        description="date: one image, the nearest to the place's date; frames: the nearest to each Sentinel-2 image; "
        "series: a series by the rules of the recipe's window or seasons.",
    )
    max_gap: int | None = Field(
        default=None, ge=0, le=3650, description="date, frames: largest difference in time [days]; date: null is any."
    )
    joined: Literal["day", "all"] = Field(
        default="day",
        description="Images that are put together, the one that reaches most of the patch first: those of one day, or "
        "all, as tiles of a map.",
    )
    mask: QualityMask | None = Field(default=None, description="Quality band that hides pixels; null hides none.")
    cloud_property: str | None = Field(
        default=None, min_length=1, description="Property with an image's cloud cover [%], as CLOUD_COVER."
    )
    max_cloud: float | None = Field(
        default=None, ge=0.0, le=100.0, description="Largest value of cloud_property that is used [%]; needs it."
    )

    def __hash__(self) -> int:
        """Return a hash of all values: mappings have none of their own."""
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _nodata_fits(self) -> Self:
        if self.dtype == "float32":
            if self.nodata is not None:
                raise ValueError("no data of float32 is NaN: leave nodata out")
            return self
        least, most = LIMITS[self.dtype]
        if self.nodata is None or not least <= self.nodata <= most:
            raise ValueError(f"nodata of {self.dtype} must be given, a number from {least} to {most}")
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.max_gap is None) and self.time == "frames":
            raise ValueError("time frames needs max_gap, the largest difference to a Sentinel-2 image [days]")
        if self.max_gap is not None and self.time == "series":
            raise ValueError("max_gap is for time date or frames: a series has the recipe's window or seasons")
        if (self.joined == "all") and (self.time != "date" or self.max_gap is not None):
            raise ValueError("joined all is for time date without max_gap: a map that has no date")
        if (self.cloud_property is None) != (self.max_cloud is None):
            raise ValueError("give cloud_property and max_cloud both, or neither")
        if self.mask is not None and self.mask.band in self.bands:
            raise ValueError(f"{self.mask.band} is a band and hides pixels: store it as a modality of its own")
        return self

    @property
    def is_undated(self) -> bool:
        """Whether images of any date will do."""
        return self.time == "date" and self.max_gap is None

    @property
    def needs_date(self) -> bool:
        """Whether a place must have a date of its own."""
        return self.time == "date" and self.max_gap is not None

    @property
    def read_bands(self) -> tuple[str, ...]:
        """Every band that is read, the quality band last."""
        return (*self.bands, self.mask.band) if self.mask else tuple(self.bands)

    def acquisition(self, acquired: datetime) -> str:
        """Return what images that are put together have in common."""
        return self.collection if self.joined == "all" else f"{self.collection}_{acquired:%Y%m%d}"

    def modality(self, name: str) -> Modality:
        """Return the folder that it describes."""
        return Modality(
            name=name,
            product=name,
            bands=tuple(Band(name=band, resolution=resolution) for band, resolution in self.bands.items()),
            dtype=self.dtype,
            nodata=float("nan") if self.nodata is None else self.nodata,
            unit=self.unit,
            is_series=self.time != "date",
            is_paired=self.time == "frames",
        )
