import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels.numbers import take_measured_inplace

POWERS = st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf]))


@settings(deadline=None)
@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6), st.sampled_from([0.0, -np.inf]))
def test_a_mosaic_takes_what_is_measured(data, shape, lowest):
    read = data.draw(hnp.arrays(np.float32, shape, elements=POWERS))
    take = data.draw(hnp.arrays(bool, shape))
    out = np.full(shape, 5.0, np.float32)
    take_measured_inplace(out, read, take, lowest=lowest)
    expected = np.full(shape, 5.0, np.float32)
    with np.errstate(invalid="ignore"):
        expected[take] = np.where(read > lowest, read, np.nan)[take]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("out", "read"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), np.float32)),
        (np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)),
        (np.zeros((2, 2), np.float32, order="F"), np.zeros((2, 2), np.float32)),
    ],
)
def test_another_array_is_refused(out, read):
    with pytest.raises(PixelError, match="out"):
        take_measured_inplace(out, read, np.ones((2, 2), bool), lowest=0.0)
