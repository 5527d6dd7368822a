"""Series as Sen12Landslides chose them: what its published code does with given dates, and the rules said anew."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.compat_series import select_compat
from pipeline.plan.request import Image, Series, SeriesRequest, Span
from pipeline.plan.series import select_series
from pipeline.records import Reason

START = datetime(2023, 1, 1, tzinfo=UTC)
LENGTH = 15


def at(day: float, score: float = 0.0, name: str = "") -> Image:
    return Image(name=name or f"day {day}", acquired=START + timedelta(days=day), bad=score)


def on(*days: int) -> list[date]:
    return [(START + timedelta(days=day)).date() for day in days]


def six_daily(count: int, scores: dict[int, float] | None = None) -> list[Image]:
    return [at(6 * index, (scores or {}).get(index, 0.0)) for index in range(count)]


def indices(series: Series) -> list[int]:
    return [(image.acquired - START).days // 6 for image in series.images]


def choose(images: Sequence[Image], *event_days: int, length: int = LENGTH) -> Series:
    return select_compat(images, on(*event_days), length)


def test_sixty_equal_images_give_the_first_of_each_interval_and_not_the_last_one() -> None:
    series = choose(six_daily(60))
    assert indices(series) == list(range(0, 57, 4))
    assert (series.padding, series.missing) == (0, ())


def test_an_event_adds_its_neighbours_and_the_earliest_of_equals_goes() -> None:
    # Between images 29 and 30; 29 and 30 are no interval's first, so two go.
    assert indices(choose(six_daily(60), 6 * 29 + 3)) == [8, 12, 16, 20, 24, 28, 29, 30, 32, 36, 40, 44, 48, 52, 56]
    # On the day of image 28: 27 and 29 stand beside it.
    assert indices(choose(six_daily(60), 6 * 28)) == [8, 12, 16, 20, 24, 27, 28, 29, 32, 36, 40, 44, 48, 52, 56]
    # Between 28, which is chosen anyway, and 29: only the first image goes.
    assert indices(choose(six_daily(60), 6 * 28 + 3)) == [4, 8, 12, 16, 20, 24, 28, 29, 32, 36, 40, 44, 48, 52, 56]


@pytest.mark.parametrize("count", range(1, 11))
def test_ten_images_or_fewer_are_refused(count: int) -> None:
    assert choose(six_daily(count)) == Series(images=(), missing=(Reason.SERIES_SHORT,) * LENGTH, alternates=())


def test_no_images_at_all_are_refused_at_any_length() -> None:
    for length in (1, 4, 15):
        assert choose([], length=length).missing == (Reason.NO_SCENE,) * length


@pytest.mark.parametrize(("count", "padding"), [(11, 4), (12, 3), (13, 2), (14, 1), (15, 0), (16, 0)])
def test_a_short_series_repeats_its_last_image_up_to_four_times(count: int, padding: int) -> None:
    series = choose(six_daily(count))
    assert series.padding == padding
    assert len(series.images) == LENGTH - padding
    if padding:
        assert indices(series) == list(range(count))


def test_nineteen_events_cut_the_series_to_its_first_fifteen_and_the_late_ones_drop_the_patch() -> None:
    events = [6 * (3 * index + 1) + 3 for index in range(19)]
    assert choose(six_daily(60), *events).missing == (Reason.NO_IMAGE_AFTER,) * LENGTH
    # The first seven need fourteen images, all of them in time: what is cut is nothing.
    assert len(choose(six_daily(60), *events[:7]).images) == LENGTH
    # Eight need sixteen, and the last one's image of after is cut.
    assert choose(six_daily(60), *events[:8]).missing == (Reason.NO_IMAGE_AFTER,) * LENGTH


def test_the_last_image_enters_only_beside_an_event_or_to_fill_up_unlike_in_the_other_policy() -> None:
    images = six_daily(16, dict.fromkeys(range(15), 0.5))
    assert 15 not in indices(choose(images))
    assert indices(choose(images, 6 * 14 + 3))[-1] == 15
    assert indices(choose(images[:13]))[-1] == 12
    whole = Span(opens=START, closes=START + timedelta(days=1))
    request = SeriesRequest(events=(whole,), start=START, end=START + timedelta(days=100), length=LENGTH, max_bad=1.0)
    assert select_series(images, request).images[-1] == images[15]


def test_an_event_before_the_first_image_needs_only_one_after_it() -> None:
    series = choose(six_daily(60), -10)
    assert indices(series) == list(range(0, 57, 4))


def test_an_event_after_the_last_image_drops_the_patch() -> None:
    assert choose(six_daily(60), 6 * 59 + 1).missing == (Reason.NO_IMAGE_AFTER,) * LENGTH


def test_an_event_on_the_day_of_the_last_chosen_image_is_covered() -> None:
    # Nothing lies after it; image 59 itself is not taken, 58 stands before it.
    assert choose(six_daily(60), 6 * 59).missing == (Reason.NO_IMAGE_AFTER,) * LENGTH
    assert indices(choose(six_daily(13), 6 * 12))[-1] == 12


def test_the_best_image_of_each_interval_is_taken_and_the_earliest_of_equals() -> None:
    scores = dict.fromkeys(range(60), 0.5) | {2: 0.1, 3: 0.1, 57: 0.2}
    expected = [2, *range(4, 53, 4), 57]
    assert indices(choose(six_daily(60, scores))) == expected


def test_the_worst_gives_way_to_an_event_and_the_next_best_fills_up() -> None:
    scores = {20: 0.9, 21: 0.9, 22: 0.9, 23: 0.9}
    assert 20 in indices(choose(six_daily(60, scores)))
    assert 20 not in indices(choose(six_daily(60, scores), 6 * 29 + 3))
    # Two images of the first interval, none of the second: the remaining places go by score.
    images = [at(0, 0.0), at(1, 0.2), at(2, 0.1), at(90), at(45)]
    series = choose(images, length=4)
    assert [image.acquired for image in series.images] == [START + timedelta(days=day) for day in (0, 2, 45, 90)]
    assert [image.name for image in series.alternates] == ["day 1"]


def test_images_beside_events_stay_however_bad_they_are() -> None:
    scores = {29: 1.0, 30: 1.0}
    assert {29, 30} <= set(indices(choose(six_daily(60, scores), 6 * 29 + 3)))


def test_time_of_day_does_not_matter() -> None:
    shifted = [Image(name=i.name, acquired=i.acquired + timedelta(hours=10.5), bad=0.0) for i in six_daily(60)]
    for event in (6 * 28, 6 * 28 + 3):
        plain = choose(six_daily(60), event)
        assert [image.name for image in choose(shifted, event).images] == [image.name for image in plain.images]


def test_images_of_one_day_alone_still_make_a_series() -> None:
    images = [at(0, name=name) for name in "bca"]
    series = choose(images, length=5)
    assert [image.name for image in series.images] == ["a", "b", "c"]
    assert series.padding == 2


def published_rules(offer: Sequence[tuple[int, float]], events: Sequence[int], length: int) -> list[int] | str:
    """The six rules on (day, score) pairs of different days, one step after the other; days or a refusal."""
    offer = sorted(offer)
    if length - len(offer) >= 5 or not offer:
        return "short"
    first, last = offer[0][0], offer[-1][0]
    taken: list[tuple[int, float]] = []
    for part in range(length):
        # first + part * (last - first) / length, without fractions.
        low, high = part * (last - first), (part + 1) * (last - first)
        inside = [image for image in offer[:-1] if low <= (image[0] - first) * length < high]
        if inside:
            taken.append(min(inside, key=lambda image: image[1]))
    critical: list[tuple[int, float]] = []
    for event in events:
        critical += [image for image in offer if image[0] < event][-1:]
        critical += [image for image in offer if image[0] > event][:1]
    taken += [image for image in dict.fromkeys(critical) if image not in taken]
    while len(taken) < length and len(taken) < len(offer):
        taken.append(min((image for image in offer if image not in taken), key=lambda image: image[1]))
    while len(taken) > length and any(image not in critical for image in taken):
        taken.sort()
        taken.remove(max((image for image in taken if image not in critical), key=lambda image: image[1]))
    taken = sorted(taken)
    taken = (taken + taken[-1:] * 4)[:length]
    if not all(any(image[0] >= event for image in taken) for event in events):
        return "uncovered"
    return [day for day, _ in taken]


@given(
    st.dictionaries(st.integers(0, 80), st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), max_size=30),
    st.lists(st.integers(-5, 85), max_size=6),
    st.integers(1, 16),
)
def test_any_offer_is_chosen_from_as_the_rules_say(offer: dict[int, float], events: list[int], length: int) -> None:
    images = [at(day, score) for day, score in offer.items()]
    series = choose(images, *events, length=length)
    expected = published_rules(list(offer.items()), events, length)
    if isinstance(expected, str):
        reasons = {"uncovered": Reason.NO_IMAGE_AFTER, "short": Reason.SERIES_SHORT if offer else Reason.NO_SCENE}
        assert series == Series(images=(), missing=(reasons[expected],) * length, alternates=())
        return
    days = [(image.acquired - START).days for image in series.images]
    assert days + days[-1:] * series.padding == expected
    assert series.missing == ()
    assert len(series.alternates) == len(images) - len(series.images)
