"""Why a row of an inventory cannot be used."""

from typing import NamedTuple

from pipeline.records import Reason


class Fault(NamedTuple):
    """What is wrong with one row."""

    reason: Reason
    detail: str
    """What the row holds, and what to do about it; one line."""


def fault(reason: Reason, detail: str) -> Fault:
    """Return the fault that says `detail` in one line."""
    return Fault(reason, " ".join(detail.split()))
