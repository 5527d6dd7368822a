"""Series around events: places kept before and after, largest gaps, and events known only to a span of days."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.request import DAY, Image, Series, SeriesRequest, Span
from pipeline.plan.series import select_series
from pipeline.records import Reason

START = datetime(2023, 1, 1, tzinfo=UTC)


def at(day: float, *, bad: float = 0.0) -> Image:
    return Image(name=f"day {day}", acquired=START + timedelta(days=day), bad=bad)


def span(last_before: float, first_after: float) -> Span:
    return Span(opens=START + timedelta(days=last_before + 1), closes=START + timedelta(days=first_after))


def on(day: float) -> Span:
    return span(day - 1, day + 1)


def ask(*events: Span, length: int, days: int = 100, **rules: Any) -> SeriesRequest:
    return SeriesRequest(
        events=events,
        start=START,
        end=START + timedelta(days=days),
        length=length,
        max_bad=0.2,
        **rules,
    )


def days_of(images: Sequence[Image]) -> list[float]:
    return [(image.acquired - START) / DAY for image in images]


def chosen(images: Sequence[Image], request: SeriesRequest) -> list[float]:
    return days_of(select_series(images, request).images)


@st.composite
def drawn_images(draw: st.DrawFn, *, most: int = 25) -> list[Image]:
    half_days = st.integers(0, 199)
    shares = st.sampled_from([0.0, 0.0, 0.1, 0.2, 0.7])
    drawn = draw(st.lists(st.tuples(half_days, shares), max_size=most))
    return [
        Image(name=f"image {index}", acquired=START + timedelta(hours=12 * half_day), bad=bad)
        for index, (half_day, bad) in enumerate(drawn)
    ]


quota = st.integers(0, 6)
slide = st.tuples(st.integers(10, 90), st.integers(1, 12)).map(lambda pair: span(pair[0], pair[0] + pair[1]))


@given(drawn_images(), slide, quota, quota, st.integers(2, 16))
def test_kept_places_hold_images_of_their_side_or_say_why_not(
    images: list[Image], event: Span, before: int, after: int, length: int
) -> None:
    length = max(length, before + after)
    series = select_series(images, ask(event, length=length, before=before, after=after))
    usable = [image for image in images if image.bad <= 0.2]
    earlier = sum(image.acquired < event.opens for image in usable)
    later = sum(image.acquired >= event.closes for image in usable)
    lacking = max(before - earlier, 0), max(after - later, 0)
    if not usable:
        assert set(series.missing) <= {Reason.NO_SCENE, Reason.TOO_CLOUDY}
    elif sum(lacking) < length:
        told = series.missing.count(Reason.NO_IMAGE_BEFORE), series.missing.count(Reason.NO_IMAGE_AFTER)
        assert told == lacking
        # With one event the two guaranteed images never take more than the places kept, unless none are kept.
        if before and after:
            assert sum(image.acquired < event.opens for image in series.images) >= min(before, earlier)
            assert sum(image.acquired >= event.closes for image in series.images) >= min(after, later)
    assert len(series.images) + len(series.missing) == length


@given(drawn_images(), slide, st.integers(1, 60), quota, st.integers(1, 10), st.randoms(use_true_random=False))
def test_no_two_neighbours_lie_further_apart_than_allowed_in_any_order_of_the_offer(
    images: list[Image], event: Span, max_gap: int, kept: int, length: int, random: Random
) -> None:
    request = ask(event, length=length, max_gap=max_gap, before=kept, after=kept)
    series = select_series(images, request)
    assert all(later.acquired - earlier.acquired < (max_gap + 1) * DAY for earlier, later in pairwise(series.images))
    names = [image.name for image in series.images]
    assert len(set(names)) == len(names)
    assert len(series.images) + len(series.missing) == length
    if Reason.GAP_TOO_LONG in series.missing:
        assert series == Series(images=(), missing=(Reason.GAP_TOO_LONG,) * length, alternates=())
    assert select_series(random.sample(images, len(images)), request) == series


@given(drawn_images(most=9), slide, st.integers(1, 60), st.integers(2, 6))
def test_a_series_is_refused_only_where_no_choice_of_images_closes_its_gaps(
    images: list[Image], event: Span, max_gap: int, length: int
) -> None:
    usable = sorted((i for i in images if i.bad <= 0.2), key=lambda image: (image.acquired, image.name))
    bound = [image for image in usable if image.acquired < event.opens][-1:]
    bound += [image for image in usable if image.acquired >= event.closes][:1]
    is_possible = any(
        all(image in some for image in bound)
        and all(later.acquired - earlier.acquired < (max_gap + 1) * DAY for earlier, later in pairwise(some))
        for size in range(1, length + 1)
        for some in combinations(usable, size)
    )
    series = select_series(images, ask(event, length=length, max_gap=max_gap, before=0, after=0))
    assert bool(series.images) == is_possible
    if usable and not is_possible:
        assert set(series.missing) == {Reason.GAP_TOO_LONG}
    if is_possible:
        assert set(bound) <= set(series.images)


@given(drawn_images(), slide, st.integers(1, 10))
def test_a_gap_as_long_as_the_window_changes_nothing(images: list[Image], event: Span, length: int) -> None:
    request = ask(event, length=length)
    assert select_series(images, replace(request, max_gap=100)) == select_series(images, request)


def test_places_are_kept_for_both_sides_although_clearer_images_lie_on_one() -> None:
    cloudy = [at(day, bad=day / 1000) for day in (42, 44, 46, 48)]
    clear = [at(day) for day in (52, 56, 62, 70, 90)]
    offer = [*cloudy, *clear]
    assert chosen(offer, ask(on(50), length=5)) == [48, 52, 56, 70, 90]
    assert chosen(offer, ask(on(50), length=5, before=2)) == [42, 48, 52, 70, 90]
    assert chosen(offer, ask(on(50), length=5, before=3, after=2)) == [42, 44, 48, 52, 70]
    assert chosen(offer, ask(on(50), length=5, before=4)) == [42, 44, 46, 48, 52]


def test_what_the_kept_places_lack_stays_empty_and_is_not_given_to_the_other_side() -> None:
    images = [at(day) for day in (30, 40, *range(52, 100, 4))]
    series = select_series(images, ask(on(50), length=8, before=5, after=2))
    assert sum(day < 50 for day in days_of(series.images)) == 2
    assert series.missing == (Reason.NO_IMAGE_BEFORE,) * 3


def test_without_kept_places_a_missing_side_leaves_nothing_empty() -> None:
    images = [at(day) for day in (60, 70, 80, 90)]
    assert chosen(images, ask(on(50), length=4, before=0, after=0)) == [60, 70, 80, 90]


def test_the_nearest_images_of_every_event_go_before_kept_places() -> None:
    images = [at(day) for day in (5, 10, 18, 22, 35, 45, 58, 62, 90)]
    series = select_series(images, ask(on(20), on(40), on(60), length=6, before=3, after=2))
    assert days_of(series.images) == [18, 22, 35, 45, 58, 62]


def test_a_gap_is_closed_with_the_clearest_of_the_fewest_images() -> None:
    images = [at(40), at(52, bad=0.2), at(55, bad=0.1), at(56, bad=0.15), at(68)]
    around = span(40, 68)
    assert chosen(images, ask(around, length=3, max_gap=16)) == [40, 55, 68]
    assert chosen(images, ask(around, length=3, max_gap=15)) == [40, 55, 68]
    assert chosen(images, ask(around, length=4, max_gap=12)) == [40, 52, 56, 68]
    assert chosen(images, ask(around, length=2, max_gap=28)) == [40, 68]


def test_what_closes_a_gap_goes_before_clearer_images_elsewhere() -> None:
    images = [at(10), at(20), at(30), at(49), at(60, bad=0.2), at(70)]
    request = ask(span(49, 70), length=3)
    assert chosen(images, request) == [20, 49, 70]
    assert chosen(images, replace(request, max_gap=12)) == [49, 60, 70]


@pytest.mark.parametrize("length", [2, 5])
def test_a_gap_that_no_usable_image_closes_refuses_the_whole_series(length: int) -> None:
    images = [at(30), at(40), at(55, bad=0.9), at(70), at(80)]
    series = select_series(images, ask(on(50), length=length, max_gap=29))
    assert series == Series(images=(), missing=(Reason.GAP_TOO_LONG,) * length, alternates=())
    assert chosen(images, ask(on(50), length=2, max_gap=30)) == [40, 70]


def test_a_gap_that_the_places_do_not_suffice_to_close_refuses_the_series() -> None:
    images = [at(40), at(50), at(60), at(70)]
    around = span(40, 70)
    assert select_series(images, ask(around, length=3, max_gap=10)).missing == (Reason.GAP_TOO_LONG,) * 3
    assert chosen(images, ask(around, length=4, max_gap=10)) == [40, 50, 60, 70]


def test_seconds_beyond_whole_days_do_not_count() -> None:
    late = at(52 + 30 / 86_400)
    assert chosen([at(40), late], ask(on(50), length=2, max_gap=12)) == days_of([at(40), late])
    assert chosen([at(40), at(53)], ask(on(50), length=2, max_gap=12)) == []


def test_images_that_cannot_be_linked_to_the_event_are_left_out() -> None:
    images = [at(5), at(44), at(49), at(52), at(58)]
    series = select_series(images, ask(on(50), length=5, max_gap=20))
    assert days_of(series.images) == [44, 49, 52, 58]
    assert series.missing == (Reason.SERIES_SHORT,)


def test_images_within_the_span_of_an_event_fill_neither_guarantee() -> None:
    images = [at(39), at(40.5), at(45), at(49.5), at(50), at(60)]
    assert chosen(images, ask(span(39, 50), length=2)) == [39, 50]
    series = select_series(images[1:4], ask(span(39, 50), length=4))
    assert days_of(series.images) == [40.5, 45]
    assert series.missing == (Reason.NO_IMAGE_BEFORE, Reason.NO_IMAGE_AFTER)


def test_the_day_before_which_it_was_not_there_counts_whole() -> None:
    images = [at(39.99), at(40), at(49.99), at(50)]
    assert chosen(images, ask(span(39, 50), length=2)) == [39.99, 50]


def test_of_overlapping_spans_before_is_before_all_and_after_is_after_all() -> None:
    images = [at(9), at(15), at(25), at(35), at(55)]
    assert chosen(images, ask(span(10, 50), span(20, 30), length=2)) == [9, 55]


def test_what_the_images_lack_is_named_as_asked() -> None:
    request = ask(on(50), length=2, unusable=Reason.TOO_MUCH_MISSING)
    assert select_series([at(40, bad=0.3)], request).missing == (Reason.TOO_MUCH_MISSING,) * 2
