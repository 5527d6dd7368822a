"""What the package asks of a data provider, and what it gets: a query in, scenes out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from shapely.geometry.base import BaseGeometry

from pipeline.pixels.classification import ClassShares
from pipeline.records import AssetRef, OwnModality, PatchGrid, Product, Recipe, Resampling, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One product, one area and one stretch of time."""

    product: Product
    footprint: BaseGeometry
    """Area in lon/lat on WGS 84, cut at the antimeridian."""
    start: datetime | None = None
    """First instant, aware; None (with `end`) for a product that has no time."""
    end: datetime | None = None
    """First instant after the window, aware: the window is half-open."""
    own: OwnModality | None = None
    """What `product` is where the recipe describes it."""

    def __post_init__(self) -> None:
        if self.product == "LABELS":
            raise ValueError("labels do not come from a catalogue")
        if (self.start is None) != (self.end is None):
            raise ValueError("a query needs start and end, or neither")
        if self.start is None or self.end is None:
            return
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"start and end must be aware, got {self.start} and {self.end}")
        if self.end <= self.start:
            raise ValueError(f"end must be after start, got {self.start} to {self.end}")

    def admits(self, acquired: datetime) -> bool:
        """Return True when `acquired` lies in [start, end), or when the query has no time."""
        if self.start is None or self.end is None:
            return True
        return self.start <= acquired < self.end


class ScoreWindow(NamedTuple):
    """A patch on one acquisition, to be scored where the images are."""

    grid: PatchGrid
    hrefs: tuple[str, ...]
    """Classification, or radar band, of each scene of the acquisition, first one first."""
    radar: Resampling | None = None
    """How the radar band is brought onto the patch; None for a classification."""


@runtime_checkable
class ScoringSource(Protocol):
    """A source that tells what hides a patch without sending its pixels."""

    @property
    def windows_at_once(self) -> int:
        """How many windows one request may hold."""

    def class_shares(self, windows: Sequence[ScoreWindow]) -> list[ClassShares]:
        """Return the shares of no data, cloud, shadow and snow in each window; of radar those without measurement."""


@runtime_checkable
class ParticularSource(Protocol):
    """A source that cannot do all that a recipe may ask for."""

    def check(self, recipe: Recipe) -> None:
        """Raise RecipeError for what would fail when pixels are read."""


class Forecast(NamedTuple):
    """What building a plan will ask of a provider that counts."""

    requests: int
    bytes: int
    """Decoded size of the answers, as the provider counts it against its limits [bytes]."""
    compute_hours: float
    """Estimated compute [EECU hours]."""


@runtime_checkable
class ForecastingSource(Protocol):
    """A source whose provider counts requests and compute."""

    def forecast(self, batches: Iterable[Sequence[tuple[Sequence[AssetRef], PatchGrid]]]) -> Forecast:
        """Return the cost of reading acquisitions, each on one grid; those of a batch are announced together."""

    def usage(self) -> list[str]:
        """Return what was used in this process so far, one line for each stage."""


class Source(Protocol):
    """A catalogue of scenes. Holds settings, not connections, so that it can be sent to workers."""

    @property
    def name(self) -> str:
        """Provider name, or the catalogue's path or URL as the user gave it."""

    def search(self, query: Query) -> list[Scene]:
        """Return the scenes that touch the query, by (acquired, id); no scene twice.

        Raises
        ------
        TransientSourceError
            The provider is unreachable or throttles.
        SourceError
            The collection is not in the catalogue, or one of its items cannot be used.
        """

    def sign(self, href: str) -> str:
        """Return `href` ready to be opened now; called by the worker that opens, never stored.

        Raises
        ------
        TransientSourceError
            The provider's signing service is unreachable or throttles.
        """

    def gdal_env(self) -> Mapping[str, str]:
        """Return the GDAL options that the provider's files need."""
