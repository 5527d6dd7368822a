"""What choosing the images of a series asks for and gives back."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.records import Reason

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One acquisition over one patch, as far as choosing needs it."""

    name: str
    acquired: datetime
    bad: float
    """What images are ranked by, less is better: the share of the patch where the ground is not seen [1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When an event came: what is known of it."""

    opens: datetime
    """Midnight from which on it may have come: images from before show the ground without it."""
    closes: datetime
    """Midnight from which on it is there for certain; for an exact date one day after `opens`."""

    def is_before(self, image: Image) -> bool:
        """Tell whether the image shows the ground without the event."""
        return image.acquired < self.opens

    def is_after(self, image: Image) -> bool:
        """Tell whether the image shows the ground with the event."""
        return image.acquired >= self.closes

    def distance(self, image: Image) -> timedelta:
        """Return the time between the image and the nearest midnight of a day on which the event may have come."""
        return max(self.opens - image.acquired, image.acquired - (self.closes - DAY), timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """What a series is for."""

    events: tuple[Span, ...]
    """Ascending; at least one."""
    start: datetime
    """First moment that an image may have."""
    end: datetime
    """Moment before which every image lies."""
    length: int
    """Places in the series."""
    max_bad: float
    """Largest `bad` that is usable."""
    before: int = 1
    """Places kept for images before the first event."""
    after: int = 1
    """Places kept for images after the last event."""
    max_gap: int | None = None
    """Largest number of whole days between neighbouring images; None takes any."""
    unusable: Reason = Reason.TOO_CLOUDY
    """Why places are empty where images exist, but none is usable."""

    @property
    def whole(self) -> Span:
        """All events as one."""
        return Span(opens=min(span.opens for span in self.events), closes=max(span.closes for span in self.events))


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The chosen images, oldest first, why the rest is empty, and what could stand in."""

    images: tuple[Image, ...]
    missing: tuple[Reason, ...]
    """One reason for each empty place; images, padding and reasons together have the asked length."""
    alternates: tuple[Image, ...]
    """Usable images that were not chosen, best first."""
    padding: int = 0
    """How often the last image is repeated behind the images."""


def refused(reason: Reason, length: int) -> Series:
    """Return a series of `length` places that all stay empty for one reason."""
    return Series(images=(), missing=(reason,) * length, alternates=())
