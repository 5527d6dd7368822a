"""The recipe: everything a user decides about a dataset, frozen and typed; unknown keys are refused."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.records.modality import MODALITIES, PRODUCTS, Modality, Resampling
from pipeline.records.model import Model
from pipeline.records.own import ModalityName, OwnModality

CLASSES = frozenset({"SCL", "LULC"})
"""Modalities whose numbers are names."""

Layout = Literal["ssl4eo-s12-v1.1"]


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_text(value: Any) -> Any:
    # YAML reads 2022-01-24 as a date.
    return value.isoformat() if isinstance(value, date) else value


class Window(Model):
    """How far around the event images are looked for."""

    before: int = Field(ge=0, description="Days before the event.")
    after: int = Field(ge=0, description="Days after the event.")


SEASON_PRESETS: dict[str, dict[str, Any]] = {
    "ssl4eo-v1.0": {
        "dates": ("2021-09-22", "2021-06-21", "2021-03-20", "2020-12-21"),
        "half_width": 15,
        "years": 1,
        "max_shift": 364,
    },
    "two-years": {
        "dates": ("2021-12-21", "2021-09-22", "2021-06-21", "2021-03-20"),
        "half_width": 30,
        "years": 2,
        "max_shift": 0,
    },
}
"""Windows of the published download scripts: of the version that made v1.0, and of the later generic one."""


def _season_preset(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in SEASON_PRESETS:
        raise ValueError(f"there is no preset {value}; there are {', '.join(SEASON_PRESETS)}")
    return SEASON_PRESETS[value]


class Seasons(Model):
    """A series of one image for each of several windows of the year."""

    dates: tuple[date, ...] = Field(min_length=1, description="Reference day of each window.")
    half_width: int = Field(default=15, ge=0, le=182, description="Days before and after the reference day.")
    years: int = Field(default=1, ge=1, le=20, description="The same window is also tried this many years back.")
    max_shift: int = Field(
        default=0, ge=0, le=3650, description="Largest shift into the past [days], one seeded draw per place."
    )
    choose: Literal["least_cloudy", "newest", "nearest"] = Field(
        default="least_cloudy", description="Among the usable images of a window."
    )


class SeriesRules(Model):
    """How the images around an event are chosen."""

    policy: Literal["event", "compat"] = Field(
        default="event",
        description="event: nearest images before and after each event, the rest spread by quality; compat: as "
        "Sen12Landslides chose its images, clouds included and short series padded.",
    )
    before: int = Field(default=1, ge=0, description="Places kept for images before the first event.")
    after: int = Field(default=1, ge=0, description="Places kept for images after the last event.")
    max_gap: int | None = Field(
        default=None, ge=1, description="Largest number of whole days between neighbouring images; null takes any."
    )
    radar: Literal["footprint", "measured"] = Field(
        default="measured",
        description="What radar images are judged by: the outline of their scenes, or the share of the patch that was "
        "measured, which reads one band of every candidate.",
    )
    max_missing_radar: float = Field(
        default=0.05,
        ge=0.0,
        le=1.0,
        description="Largest share of the patch that a radar image may lack, where it is measured.",
    )

    @model_validator(mode="after")
    def _rules_of_one_policy(self) -> Self:
        if self.policy == "compat" and (self.before, self.after, self.max_gap) != (1, 1, None):
            raise ValueError("before, after and max_gap are for policy event: compat keeps no places and allows gaps")
        return self


class Pairing(Model):
    """How radar is matched to the optical images of a series."""

    max_gap: int = Field(default=30, ge=0, le=366, description="Largest difference in time [days].")
    orbit_state: Literal["ascending", "descending"] | None = Field(
        default=None, description="Pass direction of S1GRD; null takes either."
    )


class Split(Model):
    """Folders that are fixed when the plan is made."""

    val: float = Field(gt=0.0, lt=1.0, description="Share of places in val; the rest is train.")


class Columns(Model):
    """Column names of the inventory or points file."""

    id: str | None = Field(default=None, description="Identifier; null numbers the rows.")
    date: str = Field(default="event_date", description="Event date (inventory) or anchor date (points).")
    date_from: str = Field(
        default="date_from", description="Inventory: last day before the slide; used where there is such a column."
    )
    date_to: str = Field(
        default="date_to", description="Inventory: first day after the slide; used where there is such a column."
    )
    confidence: str = Field(
        default="event_conf", description="Inventory: how sure the date is [0 to 1]; used where there is such a column."
    )
    region: str | None = Field(default=None, description="Inventory: name of the region; null makes it one region.")
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
    min_distance: float = Field(default=0.0, ge=0.0, description="Negatives: least distance to any polygon [m].")
    min_slope: float | None = Field(
        default=None, ge=0.0, lt=90.0, description="Negatives: least mean slope of the source's DEM [degrees]."
    )
    min_land: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Negatives: least share of land by GLOBE [1]."
    )
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
    S2L1C: str | None = None
    S1: str | None = None
    DEM: str | None = None
    LULC: str | None = Field(
        default=None,
        description="Earth Engine: collection of land cover, with its band after # where it is not known "
        "(MODIS/061/MCD12Q1#LC_Type2).",
    )
    CLOUDS: str | None = Field(
        default=None,
        description="Earth Engine: collection of Cloud Score+ that tells clouds; null takes the scene classification.",
    )


class ResamplingRules(Model):
    """How pixels that do not lie on the patch's grid are brought onto it; labels are always nearest."""

    S2L2A: Resampling = Field(default="nearest", description="20 m, 60 m and off-grid bands.")
    S2L1C: Resampling = Field(default="nearest", description="20 m, 60 m and off-grid bands.")
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
    own_modalities: dict[ModalityName, OwnModality] = Field(
        default_factory=dict, description="Folders cut from any collection of the source, by name."
    )
    series_length: int = Field(ge=1, le=1000, description="Timesteps of every series modality.")
    window: Window | None = Field(default=None, description="Series around an event; exclusive with `seasons`.")
    seasons: Annotated[Seasons | None, BeforeValidator(_season_preset)] = Field(
        default=None, description="Series of one image per season, or a preset's name."
    )
    series: SeriesRules = SeriesRules()
    pairing: Pairing = Pairing()
    max_cloud: float = Field(
        ge=0.0, le=1.0, description="Largest share of the patch under cloud, cirrus, cloud shadow or no data."
    )
    max_missing: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Largest share of a patch without data; what lacks less is filled from the nearest valid pixel. "
        "Null keeps every gap as no data.",
    )
    complete: bool = Field(default=False, description="Leave out places that lack any image of any modality.")
    offset: Literal[0, 1000] = Field(
        default=0, description="Added to every Sentinel-2 number; SSL4EO-S12 v1.1 has 1000."
    )
    places: Places = Places()
    collections: Collections = Collections()
    resampling: ResamplingRules = ResamplingRules()
    samples_per_shard: int = Field(ge=1, le=4096, description="Patches per file.")
    file_name: str = Field(
        default="{name}_{split}_{number:06d}", description="Template of file names: name, split and number."
    )
    packing: Literal["local", "shuffled"] = Field(
        default="local", description="Neighbours share files, or places are shuffled by the seed."
    )
    split: Split | None = Field(default=None, description="Null puts every file into `all`.")
    store: Literal["chunked", "published"] = Field(
        default="chunked",
        description="One patch and time per chunk, zstd 3 bitshuffle; or as published: a file's patches in one chunk "
        "per time, lz4 5 shuffle.",
    )
    alternates: int = Field(
        default=3,
        ge=0,
        le=50,
        description="Ranked alternates kept for every choice; 0 replaces no image that proves unreadable.",
    )
    seed: int = Field(default=42, ge=0, description="Seed of every random draw.")

    @model_validator(mode="after")
    def _own_modalities_fit(self) -> Self:
        for name, own in self.own_modalities.items():
            where = f"own_modalities.{name}"
            if name in (*MODALITIES, *PRODUCTS):
                raise ValueError(f"{where}: {name} has a meaning already; give it another name")
            if own.time == "frames" and name in self.modalities and "S2L2A" not in self.modalities:
                raise ValueError(f"{where}: time frames follows S2L2A: name it among modalities, or use time series")
            if own.resolution and (abs(self.size_of(name) * own.resolution - self.step) > 1e-6):
                raise ValueError(
                    f"{where}: a patch of {self.step:g} m is no whole number of pixels of {own.resolution:g} m; "
                    "change its resolution, or patch_size"
                )
        return self

    @model_validator(mode="after")
    def _known_modalities_and_bands(self) -> Self:
        known = (*MODALITIES, *self.own_modalities)
        unknown = [name for name in self.modalities if name not in known]
        if unknown:
            raise ValueError(f"unknown modality {unknown[0]}; there are {', '.join(known)}")
        if len(set(self.modalities)) != len(self.modalities):
            raise ValueError("modalities names one of them twice")
        for name, bands in self.bands.items():
            if name not in known:
                raise ValueError(f"bands: unknown modality {name}; there are {', '.join(known)}")
            if not bands or len(set(bands)) != len(bands):
                raise ValueError(f"bands.{name}: name at least one band, and each only once")
            for band in bands:
                self.modality(name).band(band)
        return self

    @model_validator(mode="after")
    def _one_kind_of_series(self) -> Self:
        if (self.window is None) == (self.seasons is None):
            raise ValueError("give either window (a series around an event) or seasons, and set the other to null")
        if self.seasons is not None and len(self.seasons.dates) != self.series_length:
            raise ValueError(f"seasons has {len(self.seasons.dates)} dates, but series_length is {self.series_length}")
        if self.seasons is not None and self.series != SeriesRules():
            raise ValueError("series is for a window around an event: leave it as it is beside seasons")
        kept = self.series.before + self.series.after
        if kept > max(self.series_length, 2):
            raise ValueError(f"series keeps {kept} places, but series_length is {self.series_length}")
        if {"S2L1C", "S2RGB"} & set(self.modalities) and "S2L2A" not in self.modalities:
            raise ValueError("S2L1C and S2RGB rest on S2L2A: name it among modalities, too")
        if "MASK_SERIES" in self.modalities and not any(m.is_series and m.product != "LABELS" for m in self.wanted):
            raise ValueError("MASK_SERIES follows the images of a series: name S2L2A or another series, too")
        return self

    @model_validator(mode="after")
    def _file_names_differ(self) -> Self:
        try:
            names = {self.file_name_of(split, number) for split in ("train", "val") for number in (1, 2)}
        except (KeyError, IndexError, ValueError) as err:
            raise ValueError("file_name takes {name}, {split} and {number:06d} only") from err
        if len(names) != 4 or any("/" in name for name in names):
            raise ValueError("file_name must hold {split} and {number}, and no slash")
        return self

    def file_name_of(self, split: str, number: int) -> str:
        """Return the name of a file without its suffix; `number` counts from 1 in each split."""
        return self.file_name.format(name=self.name, split=split, number=number)

    @property
    def step(self) -> float:
        """Lattice step [m]: patch size times resolution."""
        return self.patch_size * self.resolution

    def modality(self, name: str) -> Modality:
        """Return the record of a modality, the recipe's own among them."""
        own = self.own_modalities.get(name)
        return MODALITIES[name] if own is None else own.modality(name)

    def bands_of(self, modality: str) -> tuple[str, ...]:
        """Return the bands of `modality` in the order that they are stored in."""
        return self.bands.get(modality, self.modality(modality).band_names)

    def timesteps_of(self, modality: str) -> int:
        """Return the length of the time axis of `modality`."""
        return self.series_length if self.modality(modality).is_series else 1

    def resampling_of(self, modality: str) -> Resampling:
        """Return how pixels of `modality` are brought onto the patch; classes are only ever nearest."""
        if modality in CLASSES:
            return "nearest"
        if modality in self.own_modalities:
            return self.own_modalities[modality].resampling
        rule: Resampling = getattr(self.resampling, MODALITIES[modality].product)
        return rule

    def resolution_of(self, modality: str) -> float:
        """Return the pixel size of `modality` [m]."""
        own = self.own_modalities.get(modality)
        return (own.resolution if own else None) or self.resolution

    def size_of(self, modality: str) -> int:
        """Return how many pixels of `modality` a patch has along each side."""
        return round(self.step / self.resolution_of(modality))

    @property
    def wanted(self) -> tuple[Modality, ...]:
        """The modalities to write, as records."""
        return tuple(self.modality(name) for name in self.modalities)
