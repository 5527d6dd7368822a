"""Series: what must hold for any images, events and length, and the cases that a reader would ask about."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.request import DAY, Image, Series, SeriesRequest, Span
from pipeline.plan.series import select_series
from pipeline.records import Reason

START = datetime(2023, 1, 1, tzinfo=UTC)
MAX_BAD = 0.2

Offer = tuple[tuple[Image, ...], SeriesRequest]


def at(day: float, *, bad: float = 0.0) -> Image:
    return Image(name=f"day {day}", acquired=START + timedelta(days=day), bad=bad)


def on(day: float) -> Span:
    return between(day - 1, day + 1)


def between(last_before: float, first_after: float) -> Span:
    """An event known to have come after one day and until another one."""
    return Span(opens=START + timedelta(days=last_before + 1), closes=START + timedelta(days=first_after))


def ask(*event_days: int | Span, length: int, days: int = 100, max_bad: float = MAX_BAD, **rules: Any) -> SeriesRequest:
    return SeriesRequest(
        events=tuple(day if isinstance(day, Span) else on(day) for day in event_days),
        start=START,
        end=START + timedelta(days=days),
        length=length,
        max_bad=max_bad,
        **rules,
    )


def event_days(request: SeriesRequest) -> list[datetime]:
    """Days of events whose dates are exact."""
    assert all(span.closes - span.opens == DAY for span in request.events)
    return [span.opens for span in request.events]


def chosen_days(series: Series) -> list[float]:
    return [(image.acquired - START) / DAY for image in series.images]


@st.composite
def offers(draw: st.DrawFn, *, min_length: int = 1) -> Offer:
    days = draw(st.integers(1, 60))
    slides = draw(st.lists(st.integers(0, days - 1), min_size=1, max_size=4, unique=True))
    # Coarse numbers on purpose: ties and borders are what goes wrong.
    half_days = st.integers(-2, 2 * days + 2)
    shares = st.sampled_from([0.0, 0.0, 0.1, 0.2, 0.2000001, 0.7, 1.0, math.nan])
    drawn = draw(st.lists(st.tuples(half_days, shares), max_size=40))
    images = [
        Image(name=f"image {index}", acquired=START + timedelta(hours=12 * half_day), bad=bad)
        for index, (half_day, bad) in enumerate(drawn)
    ]
    length = draw(st.integers(min_length, 20))
    return tuple(images), ask(*sorted(slides), length=length, days=days)


def usable(images: Sequence[Image], request: SeriesRequest) -> list[Image]:
    return [image for image in images if image.bad <= request.max_bad and request.start <= image.acquired < request.end]


def before(images: Sequence[Image], event: datetime) -> list[datetime]:
    return [image.acquired for image in images if image.acquired < event]


def after(images: Sequence[Image], event: datetime) -> list[datetime]:
    return [image.acquired for image in images if image.acquired >= event + timedelta(days=1)]


@given(offers())
def test_images_and_reasons_fill_the_length_exactly(offer: Offer) -> None:
    images, request = offer
    series = select_series(images, request)
    assert len(series.images) + len(series.missing) == request.length


@given(offers())
def test_no_image_comes_twice_and_they_ascend(offer: Offer) -> None:
    images, request = offer
    series = select_series(images, request)
    keys = [(image.acquired, image.name) for image in series.images]
    assert keys == sorted(set(keys))


@given(offers(), st.randoms(use_true_random=False))
def test_the_order_of_the_offer_does_not_matter(offer: Offer, random: Random) -> None:
    images, request = offer
    shuffled = random.sample(images, len(images))
    assert select_series(shuffled, request) == select_series(images, request)


@given(offers())
def test_only_usable_images_of_the_window_are_chosen_or_kept(offer: Offer) -> None:
    images, request = offer
    series = select_series(images, request)
    assert {image.name for image in (*series.images, *series.alternates)} == {
        image.name for image in usable(images, request)
    }


@given(offers())
def test_alternates_are_none_of_the_chosen_and_ranked(offer: Offer) -> None:
    images, request = offer
    series = select_series(images, request)
    assert not {image.name for image in series.images} & {image.name for image in series.alternates}
    ranks = [
        (image.bad, min(abs(image.acquired - event) for event in event_days(request)), image.acquired)
        for image in series.alternates
    ]
    assert ranks == sorted(ranks)


@given(offers())
def test_no_place_stays_empty_while_a_usable_image_is_left_but_those_kept_for_a_missing_side(offer: Offer) -> None:
    images, request = offer
    series = select_series(images, request)
    sides = {Reason.NO_IMAGE_BEFORE, Reason.NO_IMAGE_AFTER}
    if series.alternates and request.length > 1:
        assert set(series.missing) <= sides
    if request.length == 1:
        assert len(series.images) == min(1, len(usable(images, request)))


@given(offers(min_length=2))
def test_the_nearest_before_the_first_and_after_the_last_event_are_always_in(offer: Offer) -> None:
    images, request = offer
    good = usable(images, request)
    times = {image.acquired for image in select_series(images, request).images}
    earlier, later = before(good, event_days(request)[0]), after(good, event_days(request)[-1])
    if earlier:
        assert max(earlier) in times
    if later:
        assert min(later) in times


@given(offers(min_length=8))
def test_the_nearest_before_and_after_every_event_are_in_where_the_series_is_long_enough(offer: Offer) -> None:
    images, request = offer
    good = usable(images, request)
    times = {image.acquired for image in select_series(images, request).images}
    for event in event_days(request):
        around = [max(before(good, event), default=None), min(after(good, event), default=None)]
        assert {moment for moment in around if moment is not None} <= times


@given(offers(min_length=2))
def test_a_missing_side_keeps_one_place_empty_and_says_so(offer: Offer) -> None:
    images, request = offer
    good = usable(images, request)
    series = select_series(images, request)
    lacks_before = bool(good) and not before(good, event_days(request)[0])
    lacks_after = bool(good) and not after(good, event_days(request)[-1])
    told = list(series.missing)
    if lacks_before and lacks_after and request.length == 2:
        assert told == [Reason.NO_IMAGE_BEFORE]
    else:
        assert told.count(Reason.NO_IMAGE_BEFORE) == lacks_before
        assert told.count(Reason.NO_IMAGE_AFTER) == lacks_after


@given(offers())
def test_other_empty_places_say_why(offer: Offer) -> None:
    images, request = offer
    offered = [image for image in images if request.start <= image.acquired < request.end]
    reasons = set(select_series(images, request).missing) - {Reason.NO_IMAGE_BEFORE, Reason.NO_IMAGE_AFTER}
    if not offered:
        assert reasons == {Reason.NO_SCENE}
    elif not usable(images, request):
        assert reasons == {Reason.TOO_CLOUDY}
    else:
        assert reasons <= {Reason.SERIES_SHORT}


@given(offers(min_length=2))
def test_a_cloudier_image_is_never_chosen_for_a_stretch_that_has_a_clearer_one_left(offer: Offer) -> None:
    images, request = offer
    good = usable(images, request)
    series = select_series(images, request)
    bound = {max(before(good, event), default=START) for event in event_days(request)}
    bound |= {min(after(good, event), default=START) for event in event_days(request)}
    places = len(series.images) + series.missing.count(Reason.SERIES_SHORT)
    stretch = (request.end - request.start) / max(places, 1)
    for image in series.images:
        index = int((image.acquired - request.start) / stretch)
        rivals = [other for other in series.alternates if int((other.acquired - request.start) / stretch) == index]
        assert image.acquired in bound or all(image.bad <= rival.bad for rival in rivals)


def test_the_nearest_usable_images_around_the_event_win_over_clearer_ones() -> None:
    images = [at(10), at(48, bad=0.19), at(49, bad=0.9), at(51, bad=0.3), at(53, bad=0.2), at(90)]
    assert chosen_days(select_series(images, ask(50, length=2))) == [48, 53]


def test_the_rest_is_spread_over_the_window_by_quality() -> None:
    images = [at(day, bad=0.1 if day % 20 else 0.0) for day in range(5, 100, 5)]
    series = select_series(images, ask(50, length=6, days=120))
    assert chosen_days(series) == [10, 20, 45, 55, 60, 80]


def test_a_stretch_gives_way_to_clearer_ones_where_the_event_takes_two_places_of_its_own() -> None:
    images = [at(10, bad=0.2), at(30), at(55), at(65), at(90, bad=0.1)]
    series = select_series(images, ask(60, length=4))
    assert chosen_days(series) == [30, 55, 65, 90]
    assert chosen_days(replace(series, images=series.alternates)) == [10]


def test_an_image_of_the_event_day_fills_neither_side() -> None:
    morning, evening = at(50.1), at(50.9)
    series = select_series([morning, evening], ask(50, length=4))
    assert list(series.images) == [morning, evening]
    assert series.missing == (Reason.NO_IMAGE_BEFORE, Reason.NO_IMAGE_AFTER)
    series = select_series([at(40), morning, at(60)], ask(50, length=2))
    assert chosen_days(series) == [40, 60]
    assert series.alternates == (morning,)


def test_midnight_after_the_event_day_is_after_and_midnight_of_it_is_not_before() -> None:
    series = select_series([at(50), at(51)], ask(50, length=2))
    assert chosen_days(series) == [51]
    assert series.missing == (Reason.NO_IMAGE_BEFORE,)


def test_several_events_each_get_their_nearest_images() -> None:
    images = [at(day) for day in (2, 18, 22, 35, 45, 58, 62, 97)]
    series = select_series(images, ask(20, 40, 60, length=6))
    assert chosen_days(series) == [18, 22, 35, 45, 58, 62]


def test_a_series_too_short_for_all_events_keeps_what_lies_before_all_and_after_all() -> None:
    images = [at(day) for day in (18, 22, 35, 45, 58, 62)]
    assert chosen_days(select_series(images, ask(20, 40, 60, length=2))) == [18, 62]
    assert chosen_days(select_series(images, ask(20, 40, 60, length=3))) == [18, 22, 62]


def test_with_images_only_after_the_event_one_place_stays_empty() -> None:
    series = select_series([at(day) for day in (60, 70, 80, 90)], ask(50, length=4))
    assert chosen_days(series) == [60, 70, 80]
    assert series.missing == (Reason.NO_IMAGE_BEFORE,)
    assert chosen_days(replace(series, images=series.alternates)) == [90]


def test_with_images_only_before_the_event_one_place_stays_empty() -> None:
    series = select_series([at(10), at(20)], ask(50, length=3))
    assert chosen_days(series) == [10, 20]
    assert series.missing == (Reason.NO_IMAGE_AFTER,)


@pytest.mark.parametrize(("days", "expected"), [((47, 52), 52), ((49, 60), 49), ((48, 52), 48), ((10,), 10)])
def test_a_series_of_one_takes_the_image_nearest_to_the_event(days: tuple[int, ...], expected: int) -> None:
    series = select_series([at(day) for day in days], ask(50, length=1))
    assert chosen_days(series) == [expected]
    assert series.missing == ()


def test_with_nothing_offered_every_place_lacks_a_scene() -> None:
    series = select_series([], ask(50, length=3))
    assert series == Series(images=(), missing=(Reason.NO_SCENE,) * 3, alternates=())


def test_with_nothing_clear_every_place_is_too_cloudy() -> None:
    series = select_series([at(40, bad=0.3), at(60, bad=math.nan)], ask(50, length=3))
    assert series == Series(images=(), missing=(Reason.TOO_CLOUDY,) * 3, alternates=())


def test_the_largest_share_that_is_allowed_is_usable() -> None:
    assert chosen_days(select_series([at(40, bad=0.2), at(60, bad=0.2)], ask(50, length=2))) == [40, 60]


def test_the_window_is_half_open() -> None:
    images = [at(-0.001), at(0), at(99.999), at(100)]
    series = select_series(images, ask(50, length=2))
    assert chosen_days(series) == [0, 99.999]
    assert series.alternates == ()


def test_too_few_images_leave_the_rest_short() -> None:
    series = select_series([at(40), at(60)], ask(50, length=4))
    assert series.missing == (Reason.SERIES_SHORT,) * 2


def test_images_of_one_instant_are_told_apart_by_name() -> None:
    twins = [replace(at(40), name=name) for name in ("b", "a", "c")]
    series = select_series([*twins, at(60)], ask(50, length=3))
    assert [image.name for image in series.images] == ["a", "c", "day 60"]
    assert [image.name for image in series.alternates] == ["b"]


def test_a_series_as_long_as_the_offer_takes_everything() -> None:
    images = [at(day) for day in range(0, 100, 7)]
    assert select_series(images, ask(50, length=len(images))).images == tuple(images)
