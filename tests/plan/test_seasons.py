from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.seasons import select_seasons
from pipeline.plan.series import Image
from pipeline.records import Reason

START = datetime(2021, 1, 1, tzinfo=UTC)
RULES = ("least_cloudy", "newest", "nearest")

images = st.lists(
    st.builds(
        lambda day, bad, number: Image(name=f"image-{number}", acquired=START + timedelta(days=day), bad=bad),
        st.integers(0, 400),
        st.sampled_from((0.0, 0.05, 0.1, 0.3, 1.0)),
        st.integers(0, 10**6),
    ),
    max_size=40,
    unique_by=lambda image: image.name,
)
seasons = st.lists(st.integers(0, 380), min_size=1, max_size=6).map(
    lambda days: [[(START + timedelta(days=day), START + timedelta(days=day + 31))] for day in days]
)


def _inside(image, intervals):
    return any(start <= image.acquired < end for start, end in intervals)


@given(images, seasons, st.sampled_from(RULES), st.randoms())
def test_every_season_has_one_usable_image_or_a_reason(given_images, windows, rule, random):
    series = select_seasons(given_images, windows, max_bad=0.1, choose=rule)
    assert len(series.images) + len(series.missing) == len(windows)
    assert len({image.name for image in series.images}) == len(series.images)
    assert all(image.bad <= 0.1 for image in series.images)
    assert [image.acquired for image in series.images] == sorted(image.acquired for image in series.images)
    shuffled = list(given_images)
    random.shuffle(shuffled)
    assert select_seasons(shuffled, windows, max_bad=0.1, choose=rule) == series


@given(images, seasons)
def test_a_season_stays_empty_only_when_nothing_else_can_serve_it(given_images, windows):
    series = select_seasons(given_images, windows, max_bad=0.1, choose="least_cloudy")
    taken = {image.name for image in series.images}
    free = [image for image in given_images if image.bad <= 0.1 and image.name not in taken]
    empty = len(series.missing)
    unserved = [window for window in windows if any(_inside(image, window) for image in free)]
    assert len(windows) - len(unserved) >= empty or empty == 0


def _image(name, day, bad):
    return Image(name=name, acquired=START + timedelta(days=day), bad=bad)


WINDOW = [[(START, START + timedelta(days=31))]]
TRIO = (_image("clear", 2, 0.0), _image("middle", 15, 0.05), _image("last", 30, 0.1))


def test_each_rule_chooses_its_own():
    chosen = [select_seasons(TRIO, WINDOW, max_bad=0.1, choose=rule).images[0].name for rule in RULES]
    assert chosen == ["clear", "last", "middle"]


def test_what_was_not_chosen_is_ranked_behind():
    series = select_seasons(TRIO, WINDOW, max_bad=0.1, choose="least_cloudy")
    assert [image.name for image in series.alternates[0]] == ["middle", "last"]


def test_reasons_tell_cloud_from_absence():
    windows = [*WINDOW, [(START + timedelta(days=90), START + timedelta(days=121))]]
    series = select_seasons([_image("overcast", 5, 0.9)], windows, max_bad=0.1, choose="newest")
    assert series.missing == (Reason.TOO_CLOUDY, Reason.NO_SCENE)
