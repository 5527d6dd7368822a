"""Made once a session for several modules, which take part with `pytest_plugins = ["support.fixtures"]`."""

from pathlib import Path

import pytest
from support.catalogue import write_catalogue
from support.orders import RECIPE, Order, place_slides


@pytest.fixture(scope="session")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """The main catalogue, with all slides."""
    folder = tmp_path_factory.mktemp("site")
    return Order(catalogue=write_catalogue(folder / "stac"), places=place_slides(folder / "valley.geojson"))


@pytest.fixture(scope="session")
def dataset(order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the main catalogue, built in this process."""
    return order.build(tmp_path_factory.mktemp("built") / "dataset")


@pytest.fixture(scope="session")
def small_order(order: Order) -> Order:
    """Fewer slides of the same catalogue, fewer bands, a shorter series."""
    places = place_slides(order.places.with_name("hill.geojson"), (0, 1, 2))
    fewer = ("series_length=3", "bands.S2L2A=[B02,B05,B09]")
    return Order(catalogue=order.catalogue, places=places, overrides=(*RECIPE, *fewer))


@pytest.fixture(scope="session")
def small_dataset(small_order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that is quick to copy and to check."""
    return small_order.build(tmp_path_factory.mktemp("small") / "dataset")
