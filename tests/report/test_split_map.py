import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from pipeline.report.split_map import COLOURS, draw_split_map, write_split_map


def patches(rows):
    names = ["region", "epsg", "easting", "northing", "side", "split"]
    return pd.DataFrame(rows, columns=names)


HILL = [("hill", 32633, 500_640.0 + 1280 * step, 5_000_640.0, 1280.0, split) for step, split in enumerate(COLOURS)]
VALLEY = [("valley", 32634, 400_640.0, 5_000_640.0, 1280.0, "train"), ("valley", 32634, 0.0, 0.0, 1280.0, "")]


def test_each_patch_is_a_square_of_its_splits_colour_at_its_place():
    figure = draw_split_map(patches(HILL))
    (axis,) = figure.axes
    (squares,) = [artist for artist in axis.get_children() if isinstance(artist, PolyCollection)]
    assert [to_hex(colour) for colour in squares.get_facecolors()] == list(COLOURS.values())
    assert squares.get_paths()[0].get_extents().bounds == pytest.approx((500.0, 5000.0, 1.28, 1.28))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["train 1", "val 1", "test 1", "buffer 1"]


def test_regions_have_panels_largest_first_and_patches_without_a_split_are_left_out():
    figure = draw_split_map(patches(VALLEY + HILL))
    assert [axis.get_title() for axis in figure.axes] == ["hill, EPSG:32633", "valley, EPSG:32634"]
    assert "train 2" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_same_split_gives_the_same_bytes(tmp_path):
    first, second = (write_split_map(tmp_path / name, patches(HILL)).read_bytes() for name in ("a.png", "b.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second
