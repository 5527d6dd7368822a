"""The plan's rows, the shards they are packed into, and the report that building one returns.

They travel to workers by the thousand, hence without slots: plain instances are pickled twice as fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.records.modality import MODALITIES, Modality
from pipeline.records.moments import Moments
from pipeline.records.place import Event, PatchGrid


class Reason(StrEnum):
    """Why a patch is not there, or is there with a reservation; stable codes for the ledger."""

    NO_SCENE = "no_scene"
    """No acquisition of the source reaches the whole patch in the window."""
    TOO_CLOUDY = "too_cloudy"
    """Acquisitions exist, but the scene classification hides too much of the patch."""
    SERIES_SHORT = "series_short"
    """Fewer usable acquisitions than the series has places: the rest stays empty."""
    NO_IMAGE_BEFORE = "no_image_before"
    """No usable image before the event."""
    NO_IMAGE_AFTER = "no_image_after"
    """No usable image after the event."""
    NO_PAIR = "no_pair"
    """No radar acquisition near enough in time to the optical one."""
    TOO_MUCH_MISSING = "too_much_missing"
    """More of the patch lacks data than the recipe allows."""
    NO_COVERAGE = "no_coverage"
    """The source has no data of this modality at the patch."""
    UNREADABLE = "unreadable"
    """The planned scene is permanently unreadable, and none is left that could stand in."""
    LEFT_OUT = "left_out"
    """The place is in no file: other images of it are missing."""
    GAP_TOO_LONG = "gap_too_long"
    """Two images of the series would lie further apart than the recipe allows."""
    UNDATED_EVENT = "undated_event"
    """A landslide without a usable date reaches into the patch: its mask would be wrong."""
    BAD_DATE = "bad_date"
    """An event's date is missing, impossible or not ISO."""
    NO_GEOMETRY = "no_geometry"
    """An event's geometry is null or empty."""
    INVALID_GEOMETRY = "invalid_geometry"
    """An event's geometry is no valid polygon on the globe."""
    DUPLICATE = "duplicate"
    """An event covers the same ground on the same day as another one."""
    REGION_NAME_TAKEN = "region_name_taken"
    """Two regions of the inventory would give their patches the same names."""
    OUTSIDE_SOURCE = "outside_source"
    """The source has no scene over the event."""
    EMPTY = "empty"
    """The scene was read and holds no valid pixel in the patch."""
    UNREACHABLE = "unreachable"
    """The provider did not answer for long, and its user had a mirror asked instead."""


@dataclass(frozen=True, kw_only=True)
class AssetRef:
    """One scene's file for each band of a patch; a patch across two tiles has two of these."""

    scene_id: str
    hrefs: tuple[str, ...]
    """Unsigned references in the order of the row's bands."""
    mask_href: str = ""
    """Reference of the scene classification that says where the scene is valid; empty if there is none."""
    offset: int = 0
    """Digital numbers to add to valid pixels."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One acquisition that can fill a place of the series: read its assets in order, first valid pixel wins."""

    acquisition: str
    acquired: datetime
    file_id: str
    assets: tuple[AssetRef, ...]
    tile: str = ""
    platform: str = ""
    orbit_state: str = ""
    relative_orbit: int | None = None
    baseline: str = ""
    offset_rule: str = ""
    cloud: float | None = None
    """Cloud share of the patch from the survey [1]; None where nothing was surveyed."""
    bad: float | None = None
    """Share of the patch hidden by cloud, shadow or no data, or without radar measurement [1]."""
    source: str = ""
    """Mirror that the files are read from; empty for the dataset's own source."""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What fills one (sample, modality, timestep): the decision, made before a spectral pixel is read."""

    sample_id: str
    modality: str
    timestep: int
    choice: Choice | None
    """The chosen acquisition; None means missing, and `reason` says why."""
    reason: str = ""
    alternates: tuple[Choice, ...] = ()
    """What could serve instead, best first."""
    is_padding: bool = False
    """True where the series was too short and its last image stands here once more."""
    first_choice: str = ""
    """Acquisition that the first plan had here and that is not used, or not where it was planned to be read; empty
    where the first plan still holds."""
    first_fault: str = ""
    """Reason code why it is not; empty where it is itself sound and the series was chosen anew beside it."""


@dataclass(frozen=True, kw_only=True)
class ShardSample:
    """A sample's place in a shard, with all that building needs to know about it."""

    id: str
    grid: PatchGrid
    lon: float
    lat: float
    date: datetime | None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of each modality: its samples in order and the plan's rows for them."""

    name: str
    """File name without its suffix, as `landslides_all_000001`."""
    split: str
    """Folder: train, val, test or all."""
    modality: str
    bands: tuple[str, ...]
    samples: tuple[ShardSample, ...]
    rows: tuple[PlanRow, ...]
    timesteps: int
    own: Modality | None = None
    """What `modality` is where the recipe describes it; None for those that this package knows."""
    checksums: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Multihash of the assets that state one, by reference, where they are to be compared; it decides no byte."""

    @property
    def hrefs(self) -> frozenset[str]:
        """Every reference that building it reads."""
        return frozenset[str]().union(*self.hrefs_by_source.values())

    @property
    def hrefs_by_source(self) -> dict[str, frozenset[str]]:
        """Every reference that building it reads, by the mirror that it is read from; of its own source by ``."""
        assets: dict[str, set[AssetRef]] = {}
        for row in self.rows:
            if row.choice is not None:
                assets.setdefault(row.choice.source, set()).update(row.choice.assets)
        return {
            source: frozenset(href for asset in held for href in (*asset.hrefs, asset.mask_href) if href)
            for source, held in assets.items()
        }

    @property
    def kind(self) -> Modality:
        """The record of its modality."""
        return self.own or MODALITIES[self.modality]

    @property
    def path(self) -> str:
        """Path inside the dataset."""
        return f"{self.split}/{self.modality}/{self.name}.zarr.zip"

    @property
    def receipt_path(self) -> str:
        """Path of its receipt inside the dataset."""
        return f"receipts/{self.split}/{self.modality}/{self.name}.json"

    @property
    def attempts_path(self) -> str:
        """Path of the note, inside the dataset, that stands for a receipt while the file is not done."""
        return f"receipts/{self.split}/{self.modality}/{self.name}.attempts"


@dataclass(frozen=True, kw_only=True)
class PatchReport:
    """What became of one (sample, modality, timestep)."""

    sample_id: str
    timestep: int
    state: str
    """written or missing."""
    reason: str = ""
    detail: str = ""
    acquisition: str = ""
    scene_ids: tuple[str, ...] = ()
    valid: float = 0.0
    """Share of pixels with data, over all bands [1]."""
    cloud: float | None = None
    stretch: tuple[float, ...] = ()
    """Reflectance times 10,000 that became 0 and 255; pictures only."""
    filled: float = 0.0
    """Share of values without data that were filled from the nearest valid pixel [1]."""
    is_padding: bool = False
    """True where the image is the one before it once more."""
    first_choice: str = ""
    """Acquisition that the first plan had here; see `PlanRow`."""
    first_fault: str = ""
    """Reason code why that one is not used; see `PlanRow`."""
    source: str = ""
    """Mirror that the image was read from; see `Choice`."""


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """The receipt of one shard file: it is done if and only if this matches plan and file."""

    path: str
    plan_digest: str
    """SHA-256 of the shard's plan: recipe values that matter, samples and rows."""
    state: str
    """done, or unfinished when a transient fault got in the way (then there is no file)."""
    sha256: str = ""
    etag: str = ""
    """What an object store calls the version that was put there; empty in a folder."""
    bytes: int = 0
    seconds: float = 0.0
    patches: tuple[PatchReport, ...] = ()
    moments: tuple[Moments, ...] = ()
    """One per band, over valid pixels."""
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    """Windows that the fast reader left to GDAL: reason and count."""
    error: str = ""
    attempts: int = 1
    """How often the building of this file was begun, over all runs."""
    faults: tuple[str, ...] = ()
    """What ended the attempts before the last one, oldest first."""
    failed_requests: Mapping[str, int] = field(default_factory=dict)
    """Requests that came to nothing, over all attempts: problem to count."""
