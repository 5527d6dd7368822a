import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels.gaps import fill_nearest
from pipeline.pixels.rgb import Stretch, stretch_of, to_rgb

shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


@given(shapes.flatmap(lambda shape: st.tuples(hnp.arrays(np.int16, shape), hnp.arrays(np.bool_, shape))))
def test_a_gap_takes_the_value_of_a_nearest_valid_pixel(pair):
    values, valid = pair
    if not valid.any():
        with pytest.raises(PixelError, match="nothing to fill from"):
            fill_nearest(values, valid)
        return
    filled = fill_nearest(values, valid)
    np.testing.assert_array_equal(filled[valid], values[valid])
    places = np.argwhere(valid)
    for row, column in np.argwhere(~valid):
        distance = ((places - (row, column)) ** 2).sum(axis=1)
        nearest = places[distance == distance.min()]
        assert filled[row, column] in values[nearest[:, 0], nearest[:, 1]]


@given(hnp.arrays(np.int16, (3, 9, 7), elements=st.integers(-500, 15_000)))
def test_a_picture_is_a_monotone_stretch_between_its_ends(values):
    valid = np.ones((9, 7), bool)
    stretch = stretch_of(values, valid)
    low, high = np.quantile(values, (0.02, 0.98))
    assert stretch == (min(max(low, 0), 1000), max(high, 2000))
    picture = to_rgb(values, stretch)
    expected = np.clip(np.rint((values.astype(float) - stretch.low) * 255 / (stretch.high - stretch.low)), 1, 255)
    assert np.abs(picture.astype(int) - expected).max() <= 1
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(picture.ravel()[order].astype(int)) >= 0).all()


def test_a_dark_picture_is_not_blown_up():
    assert stretch_of(np.full((3, 4, 4), 100, np.int16), np.ones((4, 4), bool)) == Stretch(100.0, 2000.0)


def test_nothing_valid_gives_the_plain_stretch():
    assert stretch_of(np.zeros((3, 4, 4), np.int16), np.zeros((4, 4), bool)) == Stretch(0.0, 2000.0)
