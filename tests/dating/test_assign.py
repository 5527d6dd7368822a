from datetime import date

import pytest

from pipeline.dating.assign import DatedRow, Known, assign
from pipeline.dating.series import Finding

FOUND = Finding(
    before=date(2020, 9, 17), event=date(2020, 12, 26), after=date(2021, 3, 26),
    magnitude=0.1, persistence=1.0, duration=0.5, confidence=0.62, observations=74,
)  # fmt: skip
NONE = Finding(observations=3, reason="too_few_observations")
TRIO = ("pre_dt2", "event_dt2", "post_dt2")


def trio(row):
    return tuple(getattr(row, name) for name in TRIO)


def test_an_undated_polygon_takes_what_the_method_found():
    row = assign(Known(), FOUND, "interval")
    assert (row.event_date, row.date_from, row.date_to) == ("2020-12-26", "2020-09-17", "2021-03-26")
    assert (row.event_conf, row.method, row.observations, row.reason) == (0.62, "interval", 74, None)
    assert (row.magnitude, row.persistence, row.duration) == (0.1, 1.0, 0.5)
    assert trio(row) == ("2020-09-17", "2020-12-26", "2021-03-26")


@pytest.mark.parametrize("method", ["interval", "compat"])
def test_a_date_of_the_inventory_wins_and_is_certain(method):
    row = assign(Known(event=date(2021, 2, 1)), FOUND, method)
    assert (row.event_date, row.event_conf, row.method) == ("2021-02-01", 1.0, "inventory")
    assert (row.date_from, row.date_to) == (None, None)
    assert trio(row) == ("2020-09-17", "2020-12-26", "2021-03-26")


def test_what_the_inventory_says_of_its_own_date_is_believed_but_not_by_the_published_rule():
    known = Known(event=date(2021, 2, 1), confidence=0.3)
    assert assign(known, None, "interval").event_conf == 0.3
    assert assign(known, FOUND, "compat").event_conf == 1.0
    assert assign(Known(confidence=0.3), NONE, "interval").event_conf == 0.0


def test_the_published_rule_falls_back_to_thirty_days_around_a_known_date():
    row = assign(Known(event=date(2021, 2, 1)), NONE, "compat")
    assert (row.event_date, row.event_conf, row.reason) == ("2021-02-01", 1.0, None)
    assert trio(row) == ("2021-01-02", None, "2021-03-03")
    assert (row.pre_date, row.post_date) == ("2021-01-02", "2021-03-03")
    assert trio(assign(Known(event=date(2021, 2, 1)), NONE, "interval")) == (None, None, None)


def test_without_any_date_there_is_a_reason_and_no_confidence():
    assert assign(Known(), NONE, "compat") == DatedRow(observations=3, reason="too_few_observations")
    assert assign(Known(reason="no_geometry"), None, "interval") == DatedRow(reason="no_geometry")


def test_the_published_rule_keeps_the_inventorys_own_days_around_the_event():
    row = assign(Known(pre=date(2020, 12, 1), post=date(2020, 12, 24)), FOUND, "compat")
    assert (row.pre_date, row.post_date) == ("2020-12-01", "2020-12-24")
    assert trio(row) == ("2020-09-17", "2020-12-26", "2021-03-26")
    # The inventory's day after contradicts the date that was found: it cannot bound it.
    assert (row.date_from, row.date_to) == ("2020-12-01", None)


def test_an_interval_of_the_inventory_stays_with_its_date():
    known = Known(event=date(2021, 2, 1), date_from=date(2021, 1, 1), date_to=date(2021, 2, 1))
    row = assign(known, None, "interval")
    assert (row.date_from, row.date_to, row.observations) == ("2021-01-01", "2021-02-01", None)
    wrong = assign(Known(event=date(2021, 2, 1), date_from=date(2021, 2, 1), date_to=date(2021, 1, 31)), None, "compat")
    assert (wrong.date_from, wrong.date_to) == (None, None)
