"""The interval method: where it is right, how sure it says it is, and when it says nothing."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dating import STEP_DAY, make_observation, make_series, step_series

from pipeline.dating.interval import IntervalRules, _splits, date_by_interval
from pipeline.dating.series import Finding, series_of
from pipeline.errors import RecipeError

RULES = IntervalRules()


def test_the_measured_step_lies_between_the_last_image_without_and_the_first_one_with_it():
    found = date_by_interval(step_series(), RULES)
    assert (found.before, found.after) == (date(2020, 12, 26), STEP_DAY)
    assert found.event == STEP_DAY
    assert found.magnitude == pytest.approx(0.6)
    assert (found.persistence, found.duration, found.confidence) == (1.0, 1.0, pytest.approx(1.0))


@given(st.integers(3, 60), st.integers(3, 60), st.floats(0.25, 1.2), st.integers(0, 2**32))
def test_a_step_under_noise_is_found_to_the_image(before, after, fall, seed):
    noise = np.random.default_rng(seed).uniform(-0.02, 0.02, before + after)
    series = make_series(np.where(np.arange(before + after) < before, 0.7, 0.7 - fall) + noise)
    found = date_by_interval(series, RULES)
    assert (found.before, found.after) == (series.days[before - 1].item(), series.days[before].item())
    assert found.magnitude == pytest.approx(fall, abs=0.04)
    assert found.confidence >= 0.8


@given(st.integers(6, 30), st.integers(6, 30), st.data())
def test_one_outlier_in_the_midst_of_each_side_changes_no_day(before, after, data):
    ndvi = np.array([0.7] * before + [0.2] * after)
    ndvi[data.draw(st.integers(2, before - 3))] = 0.1
    ndvi[before + data.draw(st.integers(2, after - 3))] = 0.8
    series = make_series(ndvi)
    found = date_by_interval(series, RULES)
    assert (found.before, found.after) == (series.days[before - 1].item(), series.days[before].item())


@given(st.integers(10, 80), st.integers(1, 60), st.integers(0, 2**32))
def test_seasons_that_the_ring_has_too_are_no_fall(count, every, seed):
    rng = np.random.default_rng(seed)
    season = 0.45 + 0.35 * np.cos(2 * np.pi * every * np.arange(count) / 365.25)
    series = make_series(season + rng.uniform(-0.03, 0.03, count), season, every=every)
    assert date_by_interval(series, RULES) == Finding(observations=count, reason="no_drop")


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.integers(1, 60), st.integers(1, 4), st.data())
def test_levels_and_gains_are_those_that_numpy_finds(values, window, fewest, data):
    days = np.sort(np.random.default_rng(data.draw(st.integers(0, 2**32))).choice(300, len(values), replace=False))
    series = series_of([make_observation(int(day), value) for day, value in zip(days, values, strict=True)])
    relative = series.ndvi - series.undisturbed
    found = _splits(series.days, relative, IntervalRules(window=window, min_observations=fewest))
    for i in range(len(values) - 1):
        before = [j for j in range(i + 1) if days[i] - days[j] <= window or i - j < fewest]
        after = [j for j in range(i + 1, len(values)) if days[j] - days[i + 1] <= window or j - i <= fewest]
        parts = [relative[before], relative[after], relative[before + after]]
        spreads = [np.abs(part - np.median(part)).sum() for part in parts]
        expected = [np.median(parts[0]), np.median(parts[1]), spreads[2] - spreads[0] - spreads[1]]
        np.testing.assert_allclose(found[:, i], expected, rtol=0, atol=2e-9)


def test_a_gap_makes_the_interval_longer():
    series = make_series([0.8] * 20 + [0.2] * 20)
    kept = np.r_[0:15, 26:40]
    gap = type(series)(days=series.days[kept], ndvi=series.ndvi[kept], undisturbed=series.undisturbed[kept])
    found = date_by_interval(gap, RULES)
    assert (found.before, found.after) == (series.days[14].item(), series.days[26].item())


def test_neither_the_length_of_the_series_before_nor_the_edge_matters():
    short, long = make_series([0.8] * 3 + [0.2] * 10), make_series([0.8] * 90 + [0.2] * 10)
    assert date_by_interval(short, RULES).confidence == date_by_interval(long, RULES).confidence
    assert date_by_interval(short, RULES).after == short.days[3].item()


def test_recovery_lowers_persistence_and_duration():
    series = make_series([0.8] * 40 + [0.2] * 30 + [0.75] * 10)
    found = date_by_interval(series, RULES)
    assert found.after == series.days[40].item()
    assert (found.persistence, found.duration) == (0.75, 0.75)
    assert found.confidence == pytest.approx(0.4 * 0.75 + 0.4 * 0.75 + 0.2)


def test_a_small_fall_is_less_sure_than_a_large_one():
    small, large = (date_by_interval(make_series([0.8] * 10 + [low] * 10), RULES) for low in (0.5, 0.1))
    assert small.confidence == pytest.approx(0.8 + 0.2 * 0.75)
    assert large.confidence == pytest.approx(1.0)


def test_of_two_equal_falls_the_first_one_is_taken():
    series = make_series([0.8] * 40 + [0.5] * 40 + [0.2] * 40)
    assert date_by_interval(series, RULES).after == series.days[40].item()


@pytest.mark.parametrize(("before", "after"), [(2, 30), (30, 2), (2, 2), (0, 0), (0, 5)])
def test_too_few_images_on_either_side_give_no_date_rather_than_a_wrong_one(before, after):
    found = date_by_interval(make_series([0.8] * before + [0.2] * after), RULES)
    assert found.event is None
    assert found.reason == ("no_drop" if not before and after > 5 else "too_few_observations")


def test_the_rules_decide():
    series = make_series([0.8] * 10 + [0.65] * 2)
    assert date_by_interval(series, RULES).reason == "no_drop"
    assert date_by_interval(series, IntervalRules(min_drop=0.1)).reason == "too_few_observations"
    assert date_by_interval(series, IntervalRules(min_drop=0.1, min_observations=2)).after == series.days[10].item()
    # Within 15 days there is one image on each side of a spike's end; over a year it is an outlier.
    spike = make_series([0.8] * 10 + [0.2] * 3 + [0.8] * 30)
    assert date_by_interval(spike, RULES).reason == "no_drop"
    assert date_by_interval(spike, IntervalRules(window=15)).after == spike.days[10].item()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"min_drop": 0.0}, "min-drop must be above 0 and at most 2, got 0.0"),
        ({"min_drop": float("nan")}, "min-drop must be above 0 and at most 2, got nan"),
        ({"min_observations": 0}, "min-observations must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1 day, got 0"),
        ({"min_clear": 1.1}, "min-clear must be between 0 and 1, got 1.1"),
    ],
)
def test_rules_out_of_range_are_refused(rule, text):
    with pytest.raises(RecipeError, match=text):
        IntervalRules(**rule)


@given(st.lists(st.floats(-1, 1), max_size=25), st.integers(0, 2**32), st.integers(1, 4))
def test_the_event_lies_in_its_interval_and_every_share_in_its_range(values, seed, fewest):
    days = np.sort(np.random.default_rng(seed).choice(2000, len(values), replace=False))
    series = series_of([make_observation(int(day), value) for day, value in zip(days, values, strict=True)])
    found = date_by_interval(series, IntervalRules(min_observations=fewest))
    assert (found.event is None) == bool(found.reason)
    if found.event is not None:
        assert found.before < found.event <= found.after
        assert series.days.tolist().index(found.after) - series.days.tolist().index(found.before) == 1
        assert found.magnitude >= 0.2
        assert all(0.0 <= share <= 1.0 for share in (found.persistence, found.duration, found.confidence))


def test_a_series_has_one_sample_a_day_the_clearest_and_none_that_is_not_whole():
    seen = [
        make_observation(3, 0.3),
        make_observation(1, 0.1, pixels=4, file_id="a"),
        make_observation(1, 0.2, pixels=7, file_id="b"),
        make_observation(1, 0.9, pixels=7, file_id="c"),
        make_observation(2, None),
        make_observation(4, 0.4, None),
        make_observation(5, 0.5, clear=0.49),
    ]
    series = series_of(seen, min_clear=0.5)
    assert series.days.tolist() == [date(2020, 1, 2), date(2020, 1, 4)]
    assert series.ndvi.tolist() == [0.2, 0.3]
    assert len(series_of(seen).days) == 3
    assert series_of([]).days.dtype == np.dtype("datetime64[D]")
    assert timedelta(0) < series.days[1].item() - series.days[0].item()
