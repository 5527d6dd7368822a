import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels.ndvi import CLEAR_CLASSES, clear_ndvi, robust_median

numbers = st.one_of(st.just(-32768), st.integers(-1200, 12_000))
samples = st.one_of(
    st.lists(st.floats(-1, 1, allow_subnormal=False), max_size=60),
    st.lists(st.sampled_from([-1.0, 0.1, 0.3, 0.30000001, 0.9]), max_size=60),
)


def published_median(values):
    """The published rule in full, its trim included."""
    first, third = np.quantile(values, [0.25, 0.75])
    reach = 1.5 * (third - first)
    kept = values[(values >= first - reach) & (values <= third + reach)]
    assert 2 * kept.size >= values.size
    if 2 * kept.size < values.size:
        cut = int(0.1 * values.size)
        kept = np.sort(values)[cut : values.size - cut]
    return np.median(kept)


@given(st.data(), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
def test_the_index_equals_a_numpy_expression(data, shape):
    red, infrared = (data.draw(hnp.arrays(np.int16, shape, elements=numbers)) for _ in range(2))
    scl = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 12)))
    chosen = data.draw(hnp.arrays(np.bool_, shape))
    low, high = (np.clip(band.astype(float), 0, 10_000) / 10_000 for band in (red, infrared))
    with np.errstate(invalid="ignore"):
        ndvi = (high - low) / (high + low)
    kept = chosen & np.isin(scl, (4, 5, 6, 7)) & (red != -32768) & (infrared != -32768) & ~np.isnan(ndvi)
    np.testing.assert_allclose(clear_ndvi(red, infrared, scl, chosen), ndvi[kept], rtol=0, atol=1e-15)


def test_a_view_in_another_memory_order_gives_the_same():
    rng = np.random.default_rng(0)
    red, infrared = rng.integers(0, 9000, (2, 7, 9)).astype(np.int16)
    scl, chosen = rng.integers(0, 12, (7, 9)).astype(np.uint8), rng.random((7, 9)) < 0.5
    views = [np.asfortranarray(array) for array in (red, infrared, scl, chosen)]
    np.testing.assert_array_equal(clear_ndvi(*views), clear_ndvi(red, infrared, scl, chosen))


@pytest.mark.parametrize("value", range(256))
def test_only_clear_classes_count(value):
    ones = np.full((1, 1), 1000, np.int16)
    found = clear_ndvi(ones, ones, np.full((1, 1), value, np.uint8), np.ones((1, 1), np.bool_))
    assert found.size == (value in CLEAR_CLASSES)
    assert (found == 0.0).all()


@given(samples)
def test_the_median_is_the_published_one(values):
    array = np.array(values)
    expected = published_median(array) if values else math.nan
    np.testing.assert_array_equal(robust_median(array), expected)


def test_outliers_do_not_move_the_median():
    values = np.array([0.50, 0.51, 0.52, 0.53, -0.9, -0.9])
    assert np.median(values) == pytest.approx(0.505)
    assert robust_median(np.array([0.50, 0.51, 0.52, 0.53, 0.54, 0.55, -0.9])) == pytest.approx(0.525)


def test_other_dtypes_and_shapes_are_refused():
    red, scl, chosen = np.ones((2, 2), np.int16), np.ones((2, 2), np.uint8), np.ones((2, 2), np.bool_)
    with pytest.raises(PixelError, match="must be int16, int16, uint8 and bool, got uint16, int16, uint8, bool"):
        clear_ndvi(red.astype(np.uint16), red, scl, chosen)
    with pytest.raises(PixelError, match=r"share one shape, got \(2, 2\), \(2, 2\), \(2, 2\) and \(1, 2\)"):
        clear_ndvi(red, red, scl, chosen[:1])
    with pytest.raises(PixelError, match="values must be float64"):
        robust_median(np.ones(3, np.float32))
