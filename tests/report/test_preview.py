"""Which images of a series the preview shows as before and after."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest
from support.records import DAY, make_sample

from pipeline.records import Sample
from pipeline.report.preview import nearest_image


def times_of(days: Sequence[float | None]) -> np.ndarray:
    start = np.datetime64(DAY.replace(tzinfo=None), "ns")
    steps = [None if day is None else round(day * 86_400) for day in days]
    return np.array([np.datetime64("NaT") if step is None else start + np.timedelta64(step, "s") for step in steps])


def slid(*spans: tuple[int, int]) -> Sample:
    """A patch whose slides were not there on the first and there on the last of so many days after `DAY`."""
    return make_sample(
        event_from=tuple(DAY + timedelta(days=first) for first, _ in spans),
        event_to=tuple(DAY + timedelta(days=last) for _, last in spans),
    )


@pytest.mark.parametrize(
    ("sample", "days", "expected"),
    [
        (slid((-1, 1)), (-9, -2, 3, 8), (1, 2)),
        (slid((-1, 1)), (-9, -0.5, 0.4, 8), (1, 3)),
        (slid((-6, 5)), (-9, -3, 3, 8), (0, 3)),
        (slid((-1, 1), (6, 8)), (-9, -3, 3, 9), (1, 3)),
        (slid((-1, 1)), (None, -3, None, 9), (1, 3)),
        (slid((-1, 1)), (2, 3, 4, 9), (None, 0)),
        (make_sample(is_annotated=False), (-9, -2, 0.4, 8), (1, 2)),
        (make_sample(date=None, is_annotated=False), (-9, -2, 0.4, 8), (None, None)),
    ],
)
def test_only_images_that_are_certainly_before_or_after_are_shown_as_such(
    sample: Sample, days: Sequence[float | None], expected: tuple[int | None, int | None]
) -> None:
    times = times_of(days)
    assert (nearest_image(times, sample, after=False), nearest_image(times, sample, after=True)) == expected
