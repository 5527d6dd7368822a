"""The published dating: the measured case, its peculiarities, and a second telling of the rule."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dating import make_series, months_later, published, step_series

from pipeline.dating.compat import date_by_published_rule
from pipeline.dating.series import Finding


def test_the_measured_step_comes_back():
    found = date_by_published_rule(step_series())
    assert (found.before, found.event, found.after) == (date(2020, 9, 17), date(2020, 12, 26), date(2021, 3, 26))
    assert found.duration == 37 / 74
    assert (found.persistence, found.magnitude) == (1.0, 0.0)
    assert found.confidence == pytest.approx(0.60)
    assert (found.observations, found.reason) == (74, "")


@given(st.data(), st.integers(20, 80), st.integers(3, 12))
def test_noise_is_dated_as_the_rule_says(data, count, every):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    steps = data.draw(st.lists(st.integers(1, count - 1), min_size=1, max_size=3))
    level = np.array([0.7, 0.2, 0.6, -0.1])[np.searchsorted(np.sort(steps), np.arange(count), side="right")]
    ndvi = np.clip(level + rng.normal(0, 0.12, count), -1, 1)
    ring = np.clip(0.7 + rng.normal(0, 0.05, count), -1, 1)
    series = make_series(ndvi, ring, every=every)
    found, expected = date_by_published_rule(series), published(series.days.tolist(), ndvi.tolist(), ring.tolist())
    if expected is None:
        assert found.event is None
    else:
        assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)


def test_of_two_falls_the_surer_one_wins():
    back = make_series([0.8] * 15 + [0.2] * 3 + [0.8] * 15 + [0.2] * 20, 0.6)
    assert date_by_published_rule(back).event == back.days[32].item()


def test_of_equally_sure_falls_the_first_one_wins():
    # Both falls are followed by nothing but lower values, and no run is below the ring: every term is equal.
    twice = make_series([0.9] * 12 + [0.3] * 12 + [-0.3] * 12, -1.0)
    found = date_by_published_rule(twice)
    assert (found.duration, found.persistence, found.magnitude) == (0.0, 1.0, 0.0)
    assert found.event == twice.days[11].item()


@pytest.mark.parametrize(("before", "after"), [(9, 60), (60, 9)])
def test_a_fall_within_three_months_of_an_end_is_not_dated(before, after):
    found = date_by_published_rule(make_series([0.8] * before + [0.2] * after))
    assert found == Finding(observations=69, reason="drop_at_edge")


def test_the_edge_is_three_calendar_months_and_belongs_to_the_core():
    ndvi = [0.8] * 92 + [0.2] * 200
    daily = make_series(ndvi, start="2021-03-31", every=1)
    assert months_later(date(2021, 3, 31), 3) == date(2021, 6, 30) == daily.days[91].item()
    assert date_by_published_rule(daily).event == date(2021, 6, 30)
    assert date_by_published_rule(make_series(ndvi[1:], start="2021-03-31", every=1)).reason == "drop_at_edge"


def test_fewer_than_four_samples_are_too_few():
    assert date_by_published_rule(make_series([0.8, 0.8, 0.1], every=100)).reason == "too_few_observations"
    assert date_by_published_rule(make_series([0.8, 0.8, 0.1, 0.1], every=100)).event == date(2020, 4, 10)
    assert date_by_published_rule(make_series([])).reason == "too_few_observations"


def test_a_slow_decline_is_no_fall():
    assert date_by_published_rule(make_series(np.linspace(0.9, 0.1, 60))) == Finding(observations=60, reason="no_drop")


def test_the_ring_alone_never_makes_a_fall():
    series = replace(step_series(), ndvi=np.full(74, 0.8), undisturbed=step_series().ndvi)
    assert date_by_published_rule(series).reason == "no_drop"
