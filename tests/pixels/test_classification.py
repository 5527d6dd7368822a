import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import PixelError
from pipeline.pixels import ClassShares, CloudMask, SceneClass, class_shares, cloud_mask_from_scl

values = st.one_of(st.integers(0, 12), st.integers(0, 255))
windows = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=values)


def expected_shares(scl):
    return ClassShares(
        nodata=np.mean((scl == 0) | (scl > 11)),
        cloud=np.mean(np.isin(scl, (8, 9, 10))),
        shadow=np.mean(scl == 3),
        snow=np.mean(scl == 11),
        dark=np.mean((scl == 1) | (scl == 2)),
    )


def test_each_class_becomes_the_mask_class_of_ssl4eo_s12():
    expected = {0: 6, 1: 6, 2: 0, 3: 5, 4: 0, 5: 0, 6: 1, 7: 0, 8: 4, 9: 4, 10: 3, 11: 2}
    assert {int(c): int(cloud_mask_from_scl(np.array(c, np.uint8))) for c in SceneClass} == expected


def test_values_that_are_no_class_become_no_data():
    assert (cloud_mask_from_scl(np.arange(12, 256, dtype=np.uint8)) == CloudMask.NO_DATA).all()


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0), elements=values))
def test_the_mask_equals_a_chain_of_comparisons(scl):
    conditions = [np.isin(scl, c) for c in ((2, 4, 5, 7), (6,), (11,), (10,), (8, 9), (3,))]
    mask = cloud_mask_from_scl(scl)
    np.testing.assert_array_equal(mask, np.select(conditions, range(6), 6))
    assert mask.dtype == np.uint8
    assert mask.shape == scl.shape


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[::-1, ::2], np.asfortranarray])
def test_memory_order_does_not_matter(view):
    scl = view(np.random.default_rng(0).integers(0, 14, (9, 11), dtype=np.uint8))
    plain = np.array(scl, order="C")
    np.testing.assert_array_equal(cloud_mask_from_scl(scl), cloud_mask_from_scl(plain))
    assert class_shares(scl) == class_shares(plain)


@settings(deadline=None)
@given(windows)
def test_shares_equal_the_means_of_comparisons(scl):
    assert class_shares(scl) == expected_shares(scl)


@settings(deadline=None)
@given(windows)
def test_shares_are_between_0_and_1_and_do_not_overlap(scl):
    shares = class_shares(scl)
    parts = (shares.nodata, shares.cloud, shares.shadow, shares.snow, shares.dark)
    assert all(0 <= share <= 1 for share in parts)
    assert sum(parts) <= 1 + 1e-12


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (0, "nodata"), (1, "dark"), (2, "dark"), (3, "shadow"), (4, None), (5, None), (6, None), (7, None),
        (8, "cloud"), (9, "cloud"), (10, "cloud"), (11, "snow"), (12, "nodata"), (255, "nodata"),
    ],
)  # fmt: skip
def test_a_window_of_one_class_has_one_share_at_most(value, share):
    shares = class_shares(np.full((3, 5), value, np.uint8))
    none = {"nodata": 0.0, "cloud": 0.0, "shadow": 0.0, "snow": 0.0, "dark": 0.0}
    assert shares == ClassShares(**(none | ({share: 1.0} if share else {})))


def test_shares_are_python_floats():
    assert {type(class_shares(np.zeros((2, 2), np.uint8)).nodata)} == {float}


@pytest.mark.parametrize("shape", [(0, 3), (0, 0), (4,), (), (1, 2, 2)])
def test_shares_of_a_window_without_pixels_or_with_other_dimensions_are_refused(shape):
    with pytest.raises(PixelError, match=r"^scl must be \(y, x\) with at least one pixel, got shape \("):
        class_shares(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("function", [cloud_mask_from_scl, class_shares])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float32", "bool"])
def test_other_dtypes_are_refused_by_name(function, dtype):
    with pytest.raises(PixelError, match=f"^scl must be uint8, got {dtype}$"):
        function(np.zeros((2, 2), dtype))
