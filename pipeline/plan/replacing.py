"""What stands in for images that proved to be of no use, and what the first plan had in their places."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.records import Choice, PlanRow, Product, Reason, Unreadable

Lost = Mapping[Product, Mapping[str, str]]
"""Acquisitions of one sample that are of no use, with the reason code, by product."""


def affected_samples(rows: Iterable[PlanRow], unreadable: Iterable[Unreadable]) -> set[str]:
    """Return the samples whose rows depend on what proved unreadable, now or when the rows were made."""
    return {row.sample_id for row in rows if row.first_choice} | {image.sample_id for image in unreadable}


def stand_ins(first: Sequence[PlanRow], left: Sequence[PlanRow], lost: Lost) -> list[PlanRow]:
    """Return the rows `left` of one sample and modality, each telling what `first` had in its place.

    Parameters
    ----------
    first, left
        What is chosen from all images, and from those that are not lost; equally many rows, in the order of time.
    lost
        Images of the sample that are of no use.

    Returns
    -------
    list of PlanRow
        An image that `first` does not have stands in for one that `left` lacks: for lost ones first, in the order of
        time. A gap that `first` does not have takes the lost image's reason instead of the one that choosing gives.
    """
    faults = {acquisition: reason for images in lost.values() for acquisition, reason in images.items()}
    gone = _only_in(first, left, faults)
    fresh = _fresh(left, first)
    gaps = _fresh_gaps(left, first, len(gone) - len(fresh))
    replaced = sorted(gone[: len(fresh)], key=_by_time)
    pairs = dict([*zip(fresh, replaced, strict=False), *zip(gaps, gone[len(fresh) :], strict=False)])
    return [_told(row, pairs[step], faults) if step in pairs else row for step, row in enumerate(left)]


Key = tuple[str, bool]


def _keys(rows: Iterable[PlanRow]) -> list[Key]:
    return [(row.choice.acquisition, row.is_padding) for row in rows if row.choice is not None]


def _only_in(first: Sequence[PlanRow], left: Sequence[PlanRow], faults: Mapping[str, str]) -> list[Choice]:
    """Return the images of `first` that `left` lacks, the lost ones first, each part in the order of time."""
    kept = Counter(_keys(left))
    gone = []
    for row in first:
        if row.choice is None:
            continue
        key = (row.choice.acquisition, row.is_padding)
        if kept[key]:
            kept[key] -= 1
        else:
            gone.append(row.choice)
    return sorted(gone, key=lambda choice: (choice.acquisition not in faults, *_by_time(choice)))


def _fresh(left: Sequence[PlanRow], first: Sequence[PlanRow]) -> list[int]:
    """Return where `left` has images that `first` lacks."""
    had = Counter(_keys(first))
    fresh = []
    for step, row in enumerate(left):
        if row.choice is None:
            continue
        key = (row.choice.acquisition, row.is_padding)
        if had[key]:
            had[key] -= 1
        else:
            fresh.append(step)
    return fresh


def _fresh_gaps(left: Sequence[PlanRow], first: Sequence[PlanRow], count: int) -> list[int]:
    """Return where `left` has `count` gaps more than `first`: those whose reasons `first` did not have."""
    had = Counter(row.reason for row in first if row.choice is None)
    gaps = []
    for step, row in enumerate(left):
        if row.choice is not None:
            continue
        if had[row.reason]:
            had[row.reason] -= 1
        else:
            gaps.append(step)
    return gaps[: max(count, 0)]


def _told(row: PlanRow, first: Choice, faults: Mapping[str, str]) -> PlanRow:
    fault = faults.get(first.acquisition, "")
    if row.choice is not None:
        return replace(row, first_choice=first.acquisition, first_fault=fault)
    common = set(faults.values())
    reason = fault or (common.pop() if len(common) == 1 else str(Reason.UNREADABLE))
    return replace(row, reason=reason, first_choice=first.acquisition, first_fault=fault)


def _by_time(choice: Choice) -> tuple[float, str]:
    return (choice.acquired.timestamp(), choice.acquisition)
