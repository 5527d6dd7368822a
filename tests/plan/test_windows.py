from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import DAY, make_recipe, make_sample

from pipeline.plan.request import Span
from pipeline.plan.windows import event_spans, merged, season_windows, shift_of, windows_of
from pipeline.recipes import load_recipe
from pipeline.records import PatchGrid, Sample
from pipeline.records.recipe import Seasons


def _sample(name="0000001", day=None):
    patch = PatchGrid(epsg=32633, left=500_000.0, top=5_000_000.0, size=264, resolution=10.0)
    return Sample(id=name, region="points", grid=patch, lon=15.0, lat=45.0, date=day, is_annotated=False)


@given(st.text("0123456789", min_size=7, max_size=7))
def test_all_seasons_of_a_place_share_one_shift_of_less_than_a_year(name):
    seasons = load_recipe("ssl4eo-s12").seasons
    shift = shift_of(name, seasons, seed=42)
    assert 0 <= shift <= 364
    for ((start, end),), day in zip(season_windows(_sample(name), seasons, seed=42), seasons.dates, strict=True):
        middle = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=shift)
        assert start == middle - timedelta(days=15)
        assert end == middle + timedelta(days=16)


def test_shifts_are_spread_over_the_year():
    seasons = load_recipe("ssl4eo-s12").seasons
    shifts = [shift_of(f"{number:07d}", seasons, seed=42) for number in range(20_000)]
    assert set(shifts) == set(range(365))
    assert sum(shifts) / len(shifts) == pytest.approx(182, abs=3)


def test_the_later_scripts_look_in_two_years():
    recipe = load_recipe("ssl4eo-s12", ["seasons=two-years"])
    spans = windows_of(_sample(), recipe)
    assert len(spans) == 8
    assert spans[0][0] == datetime(2021, 11, 21, tzinfo=UTC)
    assert spans[1][0] == spans[0][0] - timedelta(days=365)
    assert all(end - start == timedelta(days=61) for start, end in spans)


def test_custom_seasons_are_taken_as_they_are():
    seasons = Seasons(dates=(date(2023, 4, 5),), half_width=2)
    (((start, end),),) = season_windows(_sample(), seasons, seed=1)
    assert (start, end) == (datetime(2023, 4, 3, tzinfo=UTC), datetime(2023, 4, 8, tzinfo=UTC))


def test_an_event_series_spans_all_events_of_a_place():
    first, last = datetime(2022, 1, 10, tzinfo=UTC), datetime(2022, 3, 1, tzinfo=UTC)
    patch = _sample(day=first)
    sample = Sample(
        **{name: getattr(patch, name) for name in patch.__slots__ if not name.startswith("event")},
        event_ids=("a", "b"),
        event_dates=(first, last),
    )
    recipe = load_recipe("landslides", ["window.before=10", "window.after=20"])
    assert windows_of(sample, recipe) == ((first - timedelta(days=10), last + timedelta(days=21)),)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 20)), max_size=20))
def test_merged_intervals_cover_the_same_days_once(pairs):
    origin = datetime(2021, 1, 1, tzinfo=UTC)
    spans = [(origin + timedelta(days=start), origin + timedelta(days=start + length)) for start, length in pairs]
    union = merged(spans)
    assert all(before[1] < after[0] for before, after in pairwise(union))
    for day in range(130):
        moment = origin + timedelta(days=day)
        assert any(a <= moment < b for a, b in spans) == any(a <= moment < b for a, b in union)


def test_an_exact_date_is_a_span_of_one_day() -> None:
    plain = make_sample("a")
    assert event_spans(plain) == (Span(opens=DAY, closes=DAY + timedelta(days=1)),)
    dated = make_sample("a", event_ids=("1",), event_dates=(DAY,))
    told = replace(dated, event_from=(DAY - timedelta(days=1),), event_to=(DAY + timedelta(days=1),))
    assert event_spans(dated) == event_spans(told) == event_spans(plain)
    assert event_spans(make_sample("a", date=None)) == ()


def test_the_window_reaches_out_from_the_first_and_last_day_on_which_a_slide_may_have_come() -> None:
    day = timedelta(days=1)
    sample = make_sample(
        "a",
        event_ids=("1", "2"),
        event_dates=(DAY, DAY + 9 * day),
        event_from=(DAY - day, DAY - 20 * day),
        event_to=(DAY + 30 * day, DAY + 10 * day),
    )
    recipe = make_recipe("window={before: 5, after: 7}")
    # 19 days before to 29 days after it may have come: 20 days before it was not there, 30 after it was.
    assert windows_of(sample, recipe) == ((DAY - 24 * day, DAY + 37 * day),)
