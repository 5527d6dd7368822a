"""Events: which moments are certainly before and which certainly after a slide."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Event

DAY = datetime(2023, 8, 10, tzinfo=UTC)


def event(**changes: object) -> Event:
    return Event(**{"id": "e", "date": DAY, "wkb": b"", **changes})


@pytest.mark.parametrize(
    ("moment", "is_before", "is_after"),
    [
        (datetime(2023, 8, 9, 23, 59, 59, tzinfo=UTC), True, False),
        (datetime(2023, 8, 10, tzinfo=UTC), False, False),
        (datetime(2023, 8, 10, 23, 59, 59, tzinfo=UTC), False, False),
        (datetime(2023, 8, 11, tzinfo=UTC), False, True),
    ],
)
def test_only_the_day_of_an_event_is_uncertain(moment: datetime, is_before: bool, is_after: bool) -> None:
    assert (event().is_before(moment), event().is_after(moment)) == (is_before, is_after)


@pytest.mark.parametrize(
    ("moment", "is_before", "is_after"),
    [
        (datetime(2023, 8, 5, 23, tzinfo=UTC), True, False),
        (datetime(2023, 8, 6, tzinfo=UTC), False, False),
        (datetime(2023, 8, 14, 23, tzinfo=UTC), False, False),
        (datetime(2023, 8, 15, tzinfo=UTC), False, True),
    ],
)
def test_between_the_last_day_before_and_the_first_day_after_nothing_is_certain(
    moment: datetime, is_before: bool, is_after: bool
) -> None:
    slide = event(date_from=DAY - timedelta(days=5), date_to=DAY + timedelta(days=5))
    assert (slide.is_before(moment), slide.is_after(moment)) == (is_before, is_after)


def test_an_interval_of_one_day_is_that_day() -> None:
    slide = event(date_from=DAY, date_to=DAY)
    noon = timedelta(hours=12)
    assert not slide.is_before(DAY + noon)
    assert not slide.is_after(DAY + noon)
    assert slide.is_before(DAY - noon)
    assert slide.is_after(DAY + 3 * noon)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-400, 400))
def test_no_moment_is_before_and_after_and_certainty_ends_only_once(start: int, end: int, hours: int) -> None:
    slide = event(date_from=DAY + timedelta(days=start), date_to=DAY + timedelta(days=end))
    moment = DAY + timedelta(hours=hours)
    assert not (slide.is_before(moment) and slide.is_after(moment))
    if slide.is_before(moment):
        assert slide.is_before(moment - timedelta(hours=1))
    if slide.is_after(moment):
        assert slide.is_after(moment + timedelta(hours=1))
