"""What reaches a run's log: the package's lines, those of Dask's workers too, and never more than a person reads."""

import logging
from threading import Lock
from time import monotonic

PACKAGE = "pipeline"
LINES = 100
"""Lines of one kind that a run's log takes in a period."""
PERIOD_SECONDS = 60.0


class Thinned(logging.Filter):
    """Lets so many lines of one kind pass in a period; the next one that passes says how many did not.

    Lines are of one kind when they are made by the same statement with the same level. Errors always pass.
    """

    def __init__(self, lines: int = LINES, seconds: float = PERIOD_SECONDS) -> None:
        super().__init__()
        self.lines = lines
        self.seconds = seconds
        self._lock = Lock()
        self._kinds: dict[tuple[int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes; where others were held back before it, its text then says so."""
        if record.levelno >= logging.ERROR:
            return True
        held = self._count(record)
        if held:
            record.msg, record.args = f"{record.getMessage()} [{held} more such lines before are not shown]", None
        return held is not None

    def _count(self, record: logging.LogRecord) -> int | None:
        """Return how many lines of this kind the last period held back; None holds this one back."""
        kind, now = (record.levelno, f"{record.pathname}:{record.lineno}"), monotonic()
        with self._lock:
            started, seen = self._kinds.get(kind, (now, 0))
            held = 0
            if now - started >= self.seconds:
                started, seen, held = now, 0, max(0, seen - self.lines)
            self._kinds[kind] = (started, seen + 1)
        return held if seen < self.lines else None


def prepare_logs() -> None:
    """Set the levels that a run's log needs, and thin what the package says."""
    set_package_level()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    for handler in logging.getLogger(PACKAGE).handlers:
        if not any(isinstance(held, Thinned) for held in handler.filters):
            handler.addFilter(Thinned())


def set_package_level() -> None:
    """Let the package's lines of a file each pass its logger; without it the root's level hides them."""
    logging.getLogger(PACKAGE).setLevel(logging.INFO)
