"""What is particular to a STAC API: the request, its retries, and its failures."""

from datetime import UTC, datetime
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, box

from pipeline.errors import SourceError, TransientSourceError
from pipeline.records.recipe import Collections
from pipeline.sources import Query, open_source
from pipeline.sources.stac import open_client, searchable
from pipeline.sources.transport import TIMEOUT_SECONDS

AREA = box(14.2, 46.2, 14.8, 46.8)
QUERY = Query(
    product="S2L2A",
    footprint=AREA,
    start=datetime(2023, 8, 1, tzinfo=UTC),
    end=datetime(2023, 8, 31, tzinfo=UTC),
)


def test_the_request_states_collection_area_and_time(api: Any) -> None:
    open_source(api.address, Collections()).search(QUERY)
    request = api.searches[0]
    assert request["collections"] == ["sentinel-2-l2a"]
    assert shapely.geometry.shape(request["intersects"]).equals(AREA)
    assert request["datetime"] == "2023-08-01T00:00:00Z/2023-08-31T01:00:00Z"


def test_a_static_product_is_asked_for_without_time(api: Any) -> None:
    open_source(api.address, Collections()).search(Query(product="DEM", footprint=AREA))
    assert "datetime" not in api.searches[0]


@pytest.mark.filterwarnings("ignore:Server does not advertise")
def test_an_api_that_only_links_to_its_search_is_searched(api: Any) -> None:
    api.states_conformance = False
    assert len(open_source(api.address, Collections()).search(QUERY)) == 3


def test_every_page_is_fetched(api: Any) -> None:
    open_source(api.address, Collections()).search(QUERY)
    assert [request.get("token") for request in api.searches] == [None, "2", "4"]


@pytest.mark.parametrize("status", [429, 503])
def test_throttling_is_waited_out(api: Any, status: int) -> None:
    api.faults.append(status)
    assert len(open_source(api.address, Collections()).search(QUERY)) == 3


def test_a_server_error_that_is_not_retried_is_still_transient(api: Any) -> None:
    api.faults.append(507)
    with pytest.raises(TransientSourceError, match=r"searching sentinel-2-l2a: HTTP 507$"):
        open_source(api.address, Collections()).search(QUERY)


def test_a_refused_request_is_permanent_and_says_why(api: Any) -> None:
    api.faults.append(400)
    with pytest.raises(SourceError, match=r"HTTP 400: .*injected") as caught:
        open_source(api.address, Collections()).search(QUERY)
    assert not isinstance(caught.value, TransientSourceError)


def test_a_refusal_that_comes_from_the_collection_says_so(api: Any) -> None:
    api.faults.append(404)
    with pytest.raises(SourceError, match="collection no-such is not in"):
        open_source(api.address, Collections(S2L2A="no-such")).search(QUERY)


def test_a_server_that_went_away_is_transient(api: Any) -> None:
    source = open_source(api.address, Collections())
    api.stop()
    with pytest.raises(TransientSourceError, match=r"no answer: \[Errno \d+\] Connection refused$"):
        source.search(QUERY)


def test_the_client_has_a_timeout(api: Any) -> None:
    assert open_client(api.address)._stac_io.timeout == TIMEOUT_SECONDS


def test_a_small_area_is_sent_as_it_is() -> None:
    assert searchable(AREA).equals(AREA)


def test_a_detailed_area_is_sent_as_something_simpler_that_covers_it() -> None:
    detailed = MultiPolygon([Point(x, 46).buffer(0.1, quad_segs=200) for x in (14, 15)])
    simple = searchable(detailed)
    assert shapely.get_num_coordinates(simple) <= 1000
    assert simple.buffer(1e-9).covers(detailed)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80), st.floats(0.01, 5)), min_size=1, max_size=30))
def test_what_is_sent_is_valid_and_covers_the_area(discs: list[tuple[float, float, float]]) -> None:
    area = MultiPolygon([Point(lon, lat).buffer(radius, quad_segs=8) for lon, lat, radius in discs])
    sent = searchable(area)
    assert sent.is_valid
    assert all(sent.buffer(1e-9).covers(disc) for disc in area.geoms)
