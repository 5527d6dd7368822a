import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.pixels.moments import moments_of
from pipeline.pixels.totals import ExactTotal
from pipeline.records import Moments

FLOATS = st.floats(-1e6, 1e6, width=32)


def total(parts):
    summed = ExactTotal()
    for part in parts:
        summed.add(moments_of(part, nodata=None))
    return summed


def test_nothing_has_no_mean():
    empty = ExactTotal()
    empty.add(Moments())
    assert (empty.count, empty.mean, empty.std) == (0, None, None)


@given(st.lists(arrays.arrays(np.float32, st.integers(1, 12), elements=FLOATS), min_size=1, max_size=12), st.randoms())
def test_order_changes_no_bit_and_numpy_agrees(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    first, second = total(parts), total(shuffled)
    assert (first.mean, first.std, first.count) == (second.mean, second.std, second.count)
    values = np.concatenate(parts).astype(np.float64)
    assert first.mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-9)
    assert first.std == pytest.approx(values.std(), rel=1e-9, abs=1e-6)
    assert (first.minimum, first.maximum) == (values.min(), values.max())


def test_a_constant_has_no_spread():
    assert total([np.full(7, 0.1, np.float32)] * 3).std == 0.0
