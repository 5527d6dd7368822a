"""The recipe: everything a user decides about a dataset, frozen and typed; unknown keys are refused."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.records.modality import MODALITIES, Modality, Resampling

Layout = Literal["ssl4eo-s12-v1.1"]


class Model(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_text(value: Any) -> Any:
    # YAML reads 2022-01-24 as a date.
    return value.isoformat() if isinstance(value, date) else value


class Window(Model):
    """How far around the event images are looked for."""

    before: int = Field(ge=0, description="Days before the event.")
    after: int = Field(ge=0, description="Days after the event.")


class Columns(Model):
    """Column names of the inventory or points file."""

    id: str | None = Field(default=None, description="Identifier; null numbers the rows.")
    date: str = Field(default="event_date", description="Event date (inventory) or anchor date (points).")
    lon: str = Field(default="lon", description="Points file: longitude [degrees].")
    lat: str = Field(default="lat", description="Points file: latitude [degrees].")


class Places(Model):
    """How places become patches."""

    columns: Columns = Columns()
    crs: str | None = Field(
        default=None,
        pattern=r"^EPSG:32[67]\d\d$",
        description="UTM zone of every patch as EPSG:326zz or EPSG:327zz; null takes the zone of the place.",
    )
    region: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Prefix of lattice ids; null takes the file name.",
    )
    extent: tuple[float, float, float, float] | None = Field(
        default=None,
        description="Left, bottom, right, top [m] that lattice ids and negatives are counted in; needs `crs`. "
        "Null takes the polygons' bounds, widened by `margin`.",
    )
    margin: int = Field(default=8, ge=0, le=64, description="Cells added around the polygons' bounds.")
    negatives: float = Field(default=1.0, ge=0.0, description="Cells without polygons per annotated cell.")
    date: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        default=None, description="Points file: date (YYYY-MM-DD) of rows that have none of their own."
    )

    @model_validator(mode="after")
    def _extent_needs_crs(self) -> Self:
        if self.extent is not None and self.crs is None:
            raise ValueError("places.extent is in metres of one UTM zone: give places.crs too")
        return self


class Collections(Model):
    """Collection of the source that each product is taken from; null takes the provider's own name."""

    S2L2A: str | None = None
    S1: str | None = None
    DEM: str | None = None


class ResamplingRules(Model):
    """How pixels that do not lie on the patch's grid are brought onto it; labels are always nearest."""

    S2L2A: Resampling = Field(default="nearest", description="20 m, 60 m and off-grid bands.")
    S1: Resampling = Field(default="bilinear", description="Off-grid only, on linear power.")
    DEM: Resampling = Field(default="bilinear", description="Always off-grid.")


class Recipe(Model):
    """One dataset that a user can name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="First part of every file name.")
    layout: Layout = Field(default="ssl4eo-s12-v1.1", description="How shards lie on disk.")
    patch_size: int = Field(ge=8, le=4096, description="Pixels along each side.")
    resolution: float = Field(gt=0, description="Pixel size [m].")
    anchor: Annotated[tuple[float, float], BeforeValidator(_pair)] = Field(
        default=(0.0, 0.0),
        description="Easting and northing [m] that the lattice passes through; one number serves both.",
    )
    modalities: tuple[str, ...] = Field(min_length=1, description="Folders to write.")
    bands: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Bands of a modality; one that is not named keeps all of its bands."
    )
    series_length: int = Field(ge=1, le=1000, description="Timesteps of every series modality.")
    window: Window
    max_cloud: float = Field(
        ge=0.0, le=1.0, description="Largest share of the patch under cloud, cirrus, cloud shadow or no data."
    )
    places: Places = Places()
    collections: Collections = Collections()
    resampling: ResamplingRules = ResamplingRules()
    samples_per_shard: int = Field(ge=1, le=4096, description="Patches per file.")
    alternates: int = Field(default=3, ge=0, le=50, description="Ranked alternates kept for every choice.")
    seed: int = Field(default=42, ge=0, description="Seed of every random draw.")

    @model_validator(mode="after")
    def _known_modalities_and_bands(self) -> Self:
        unknown = [name for name in self.modalities if name not in MODALITIES]
        if unknown:
            raise ValueError(f"unknown modality {unknown[0]}; there are {', '.join(MODALITIES)}")
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError("modalities names one of them twice")
        for name, bands in self.bands.items():
            if name not in MODALITIES:
                raise ValueError(f"bands: unknown modality {name}; there are {', '.join(MODALITIES)}")
            if not bands or len(set(bands)) != len(bands):
                raise ValueError(f"bands.{name}: name at least one band, and each only once")
            for band in bands:
                MODALITIES[name].band(band)
        return self

    @property
    def step(self) -> float:
        """Lattice step [m]: patch size times resolution."""
        return self.patch_size * self.resolution

    def bands_of(self, modality: str) -> tuple[str, ...]:
        """Return the bands of `modality` in the order that they are stored in."""
        return self.bands.get(modality, MODALITIES[modality].band_names)

    def timesteps_of(self, modality: str) -> int:
        """Return the length of the time axis of `modality`."""
        return self.series_length if MODALITIES[modality].is_series else 1

    @property
    def wanted(self) -> tuple[Modality, ...]:
        """The modalities to write, as records."""
        return tuple(MODALITIES[name] for name in self.modalities)
