"""The source: settings only; connections and credentials are found by the process that needs them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np
import shapely

from pipeline.pixels.classification import ClassShares
from pipeline.records import AssetRef, PatchGrid, Recipe, Scene
from pipeline.records.recipe import Collections
from pipeline.sources.contract import Forecast, Query, ScoreWindow, Source
from pipeline.sources.earth_engine import usage
from pipeline.sources.earth_engine.collections import DEFAULT_COLLECTIONS
from pipeline.sources.earth_engine.feasible import check_recipe
from pipeline.sources.earth_engine.forecast import forecast_reads
from pipeline.sources.earth_engine.governor import Governor, Limits
from pipeline.sources.earth_engine.pixels import EarthEngineReader
from pipeline.sources.earth_engine.scoring import shares_on_server
from pipeline.sources.earth_engine.search import find_scenes
from pipeline.sources.earth_engine.session import Session
from pipeline.sources.permits import Limit, Permits, ProcessPermits
from pipeline.sources.reading import Together

NAME = "earth-engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarthEngineSource:
    """Google Earth Engine on the account of one project."""

    session: Session
    collections: Mapping[str, str]
    """Collection that each product is taken from."""
    limits: Limits = field(default_factory=Limits)
    permits: Permits | None = None
    """Shared with other processes; None for those of this process."""
    name: str = NAME

    def search(self, query: Query) -> list[Scene]:
        """Return the scenes that touch the query, by (acquired, id)."""
        collection = query.own.collection if query.own else self.collections[query.product]
        found = find_scenes(self.governor, collection, query)
        scenes = list({scene.id: scene for scene in found if query.admits(scene.acquired)}.values())
        outlines = shapely.from_wkb(np.array([scene.footprint for scene in scenes], dtype=object))
        touching = shapely.intersects(outlines, query.footprint)
        kept = [scene for scene, touches in zip(scenes, touching, strict=True) if touches]
        return sorted(kept, key=attrgetter("acquired", "id"))

    def sign(self, href: str) -> str:
        """Return `href`: a request carries the credentials, a reference does not."""
        return href

    def gdal_env(self) -> Mapping[str, str]:
        """Return nothing: GDAL reads nothing here."""
        return {}

    @property
    def governor(self) -> Governor:
        """What sends the requests of this source."""
        permits = self.permits or ProcessPermits(self.limit)
        return Governor(session=self.session, limits=self.limits, permits=permits)

    @property
    def together(self) -> Together:
        """The dates of a patch: a request has one grid, and may hold several images."""
        return "patch"

    @contextmanager
    def open_reader(self) -> Iterator[EarthEngineReader]:
        """Yield what reads this source's pixels."""
        yield EarthEngineReader(self.governor)

    @property
    def windows_at_once(self) -> int:
        """How many windows are scored in one request: the answer must fit one page, and the request's deadline."""
        return 500

    def class_shares(self, windows: Sequence[ScoreWindow]) -> list[ClassShares]:
        """Return the shares of no data, cloud, shadow and snow in each window, judged on the server."""
        return shares_on_server(self.governor, windows, self.collections.get("CLOUDS"))

    def forecast(self, batches: Iterable[Sequence[tuple[Sequence[AssetRef], PatchGrid]]]) -> Forecast:
        """Return the cost of reading acquisitions, each on one grid, a batch together."""
        return forecast_reads(batches)

    def usage(self) -> list[str]:
        """Return what was used in this process so far, one line for each workload tag."""
        return [
            f"{tag}: {tally.requests} requests, {tally.failures} of them repeated, {tally.bytes / 1e6:.1f} MB of pixels"
            for tag, tally in usage.tallies().items()
        ]

    def check(self, recipe: Recipe) -> None:
        """Raise RecipeError for resampling that Earth Engine has not, and for more bands than one request holds."""
        check_recipe(recipe)

    @property
    def limit(self) -> Limit:
        """How much may be asked, over all workers."""
        return Limit(name=NAME, at_once=self.limits.concurrent, per_second=self.limits.per_second)

    @property
    def requests_per_thread(self) -> bool:
        """Return True: the client waits for each answer."""
        return True

    def with_permits(self, permits: Permits) -> "EarthEngineSource":
        """Return this source with permits that are shared by more than this process."""
        return replace(self, permits=permits)


_: type[Source] = EarthEngineSource


def open_earth_engine(collections: Collections) -> EarthEngineSource:
    """Return the source for the project and endpoint of the environment; nothing is contacted yet.

    Raises
    ------
    RecipeError
        The environment names no project, or a limit that is no number.
    """
    stated = {product: collection for product, collection in collections.model_dump().items() if collection}
    return EarthEngineSource(
        session=Session.from_environment(),
        collections={**DEFAULT_COLLECTIONS, **stated},
        limits=Limits.from_environment(),
    )
