"""Scenes: what a provider has, in words that do not depend on the provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.records.modality import Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One item of a catalogue: a Sentinel-2 tile, a Sentinel-1 frame, a DEM tile."""

    id: str
    """The provider's item id, unique within its collection."""
    product: Product
    collection: str
    acquired: datetime
    """Acquisition start, aware, UTC."""
    footprint: bytes
    """Outline in lon/lat on WGS 84 as well-known binary, cut at the antimeridian."""
    acquisition: str
    """Names the pass that the scene belongs to: scenes of one acquisition may be mosaicked."""
    file_id: str
    """Earth-Engine-style product id where it can be derived, else `id`."""
    hrefs: Mapping[str, str]
    """Band name to reference; never signed."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Band name to the multihash of the whole file, hexadecimal, where the item states one."""
    epsg: int | None = None
    """CRS that the item states; the file's own header decides when pixels are read."""
    tile: str = ""
    """MGRS tile as `T33TWM`; empty for other products."""
    platform: str = ""
    orbit_state: str = "unknown"
    """ascending, descending or unknown."""
    relative_orbit: int | None = None
    baseline: str = ""
    """Sentinel-2 processing baseline as `05.09`; empty where it does not apply."""
    offset: int = 0
    """Digital numbers to add so that reflectance = DN / 10,000: 0 or -1000."""
    offset_rule: str = ""
    """Which of the product's own statements decided `offset`."""
    cloud_cover: float | None = None
    """Cloud cover of the whole scene [%]; used to choose only where the recipe's own modalities ask for it."""
    extras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What one mirror has of one scene; a row of copies.parquet."""

    source: str
    """The mirror, as provenance.json names it."""
    product: Product
    scene_id: str
    """The scene of the dataset's own source."""
    scene: Scene | None
    """That scene as the mirror has it: its own id, references, checksums, baseline and offset, and the time, names and
    outline of the original; None where it has none of use."""
    problem: str = ""
    """Why it is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the scene classification says about one patch on one acquisition; all shares 0 to 1.

    Of a radar acquisition only `nodata` is known, from its first stored band; the other shares are 0.
    """

    sample_id: str
    acquisition: str
    scene_ids: tuple[str, ...]
    """Scenes that were mosaicked, first one first."""
    acquired: datetime
    nodata: float
    """Share of classes 0 and above 11, and of pixels that no scene reaches; radar: of pixels without measurement."""
    cloud: float
    """Share of classes 8, 9 and 10 (medium, high probability, thin cirrus)."""
    shadow: float
    """Share of class 3."""
    snow: float
    """Share of class 11."""
    dark: float = 0.0
    """Share of classes 1 and 2 (saturated or defective, dark or in the shadow of terrain)."""
    error: str = ""
    """Reason code when the classification could not be read; the shares are NaN then."""

    @property
    def bad(self) -> float:
        """Share of the patch where the ground is not seen."""
        return self.nodata + self.cloud + self.shadow

    @property
    def unclear(self) -> float:
        """Share of everything but vegetation, bare ground, water and unclassified ground (classes 4 to 7)."""
        return self.bad + self.snow + self.dark
