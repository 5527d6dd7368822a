import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve

from pipeline.pixels.slope import horn_slope


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (1.0, 0.0), (0.0, -1.0), (3.0, 4.0), (-0.5, 2.0)])
@pytest.mark.parametrize("resolution", [10.0, 2.5])
def test_a_plane_has_its_own_slope_everywhere(east, north, resolution) -> None:
    y, x = np.mgrid[0:7, 0:9] * resolution
    slope = horn_slope(100.0 + east * x - north * y, resolution)
    assert slope.shape == (5, 7)
    assert slope == pytest.approx(math.degrees(math.atan(math.hypot(east, north))))


@given(seed=st.integers(0, 10_000), resolution=st.sampled_from([1.0, 10.0, 30.0]))
def test_any_ground_agrees_with_a_convolution(seed, resolution) -> None:
    heights = np.random.default_rng(seed).uniform(-400, 9000, (12, 9))
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / (8.0 * resolution)
    across, along = (convolve(heights, one)[1:-1, 1:-1] for one in (kernel, kernel.T))
    expected = np.degrees(np.arctan(np.sqrt(across**2 + along**2)))
    np.testing.assert_allclose(horn_slope(heights, resolution), expected, rtol=1e-9)


def test_a_hole_takes_its_neighbours_with_it_and_no_more() -> None:
    heights = np.zeros((9, 9), np.float32)
    heights[4, 4] = np.nan
    slope = horn_slope(heights, 10.0)
    # The middle of the hole itself is not weighted.
    assert np.isnan(slope).sum() == 8
    assert (slope[~np.isnan(slope)] == 0.0).all()
