"""A source while one file of a dataset is built: which of its requests failed, and what its assets must hold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType

from pipeline.sources.access import Signer, catalogue_of, permits_of, renew
from pipeline.sources.checking import Checks, Compared, ReadRange
from pipeline.sources.permits import Permits
from pipeline.sources.reading import ReaderSource

FailedRequests = Mapping[str, int]
"""Problem to how many requests met it, by problem."""
NONE_FAILED: FailedRequests = MappingProxyType({})


@dataclass(slots=True)
class Failures:
    """Requests that came to nothing, by what went wrong; for any number of threads."""

    _counts: "Counter[str]" = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def add(self, problem: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[problem.replace("HTTP response code: ", "HTTP ")] += 1

    def counts(self) -> FailedRequests:
        """Return how many met each problem."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def added(*parts: FailedRequests) -> FailedRequests:
    """Return the sum of several counts."""
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True)
class WatchedSource:
    """Signs, renews and permits as `source` does, and takes down what its readers tell."""

    source: Signer
    failures: Failures
    checks: Checks | None = None

    def sign(self, href: str) -> str:
        """Return `href` ready to be opened now."""
        return self.source.sign(href)

    def gdal_env(self) -> Mapping[str, str]:
        """Return GDAL options that the provider's files need."""
        return self.source.gdal_env()

    def renew(self, href: str, refused: str) -> bool:
        """Forget the signature of `refused`; False where there is no other."""
        return renew(self.source, href, refused)

    def catalogue(self) -> str:
        """Return path or URL of the catalogue that names its files."""
        return catalogue_of(self.source)

    def asking(self) -> Permits:
        """Return leave to ask."""
        return permits_of(self.source)

    def failed(self, problem: str) -> None:
        """Count a request that came to nothing."""
        self.failures.add(problem)

    def is_vouched(self, href: str) -> bool:
        """Tell whether a checksum says what `href` must hold."""
        return self.checks is not None and href in self.checks.checksums

    def compared(self, href: str, read: ReadRange) -> Compared | None:
        """See `Checks.compared`."""
        return None if self.checks is None else self.checks.compared(href, read, self.failures.add)


def watched(source: Signer, failures: Failures, run: str = "", checksums: Mapping[str, str] | None = None) -> Signer:
    """Return `source` watched; one whose pixels are not in files counts its requests itself, and comes as it is.

    Where `run` is not empty, assets are compared with `checksums`, once in each process of that run.
    """
    if isinstance(source, ReaderSource):
        return source
    return WatchedSource(source, failures, Checks(run, checksums or {}) if run else None)
