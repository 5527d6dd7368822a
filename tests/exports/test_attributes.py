import ast
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import make_grid

from pipeline.errors import LayoutError
from pipeline.exports.sen12landslides.attributes import (
    Annotation,
    annotation_attributes,
    parse_attributes,
    patch_attributes,
    pre_post_indices,
)
from pipeline.exports.sen12landslides.sensors import SENSORS

DAYS = np.datetime64("2023-01-01", "D") + 20 * np.arange(15)

METRES = st.floats(-1e7, 1e7).map(lambda value: round(value, 3))
ANNOTATIONS = st.lists(
    st.builds(
        Annotation,
        id=st.integers(0, 2**31 - 1),
        date=st.dates(date(2016, 1, 1), date(2030, 1, 1)),
        confidence=st.floats(0, 1),
        box=st.tuples(METRES, METRES, METRES, METRES),
    ),
    max_size=6,
).map(lambda items: sorted(items, key=lambda item: (item.date, item.id)))


def annotation(id_, day, confidence=1.0):
    return Annotation(
        id=id_, date=date.fromisoformat(day), confidence=confidence, box=(755867.58, 4880640.0, 755900.0, 4880700.0)
    )


@given(ANNOTATIONS)
def test_what_is_written_is_read_back(annotations):
    told = annotation_attributes(annotations, DAYS)
    parsed = parse_attributes({**told, "annotated": str(bool(annotations))})
    assert parsed.ids == tuple(item.id for item in annotations)
    assert parsed.boxes == tuple(item.box for item in annotations)
    assert parsed.event_dates == tuple(sorted({item.date for item in annotations}))
    assert parsed.confidences == tuple(sorted({item.confidence for item in annotations}))
    assert parsed.pre_post == tuple(pre_post_indices(day, DAYS) for day in parsed.event_dates)
    assert parsed.is_annotated == bool(annotations)
    assert told["ann_event_date"].split(",") == [str(item.date) for item in annotations] or not annotations


def test_a_patch_without_landslides_has_empty_texts():
    told = patch_attributes([], DAYS, sensor=SENSORS["s2"], grid=make_grid(), annotated=False)
    assert [told[name] for name in ("ann_id", "ann_bbox", "event_date", "date_confidence", "pre_post_dates")] == [
        ""
    ] * 5
    assert told["annotated"] == "False"


def test_texts_are_spelt_as_released():
    told = annotation_attributes([annotation(41125, "2023-05-16"), annotation(41124, "2023-05-17", 0.43)], DAYS)
    assert told["ann_id"] == "41125,41124"
    assert told["event_date"] == "2023-05-16,2023-05-17"
    assert told["date_confidence"] == "0.43,1.0"
    assert told["pre_post_dates"] == "{'pre': 6, 'post': 7},{'pre': 6, 'post': 7}"
    assert told["ann_bbox"].startswith("(755867.58, 4880640.0, 755900.0, 4880700.0),(")
    assert ast.literal_eval(f"[{told['ann_bbox']}]")[0] == (755867.58, 4880640.0, 755900.0, 4880700.0)
    # What the two texts above cannot say: which date is the sure one.
    assert (told["ann_event_date"], told["ann_date_confidence"]) == ("2023-05-16,2023-05-17", "1.0,0.43")


def test_released_attributes_are_read():
    parsed = parse_attributes(
        {
            "ann_id": "41125,41124",
            "ann_bbox": "(755867.58, 4880640.0, 755900.25, 4880700.0),(755870.0, 4880650.0, 755880.0, 4880660.0)",
            "event_date": "2023-05-16,None",
            "date_confidence": "1.0",
            "pre_post_dates": "{'pre': 7, 'post': 8},{'pre': 0, 'post': 0}",
            "annotated": "True",
        }
    )
    assert parsed.ids == (41125, 41124)
    assert parsed.boxes[1] == (755870.0, 4880650.0, 755880.0, 4880660.0)
    assert parsed.event_dates == (date(2023, 5, 16), None)
    assert parsed.confidences == (1.0,)
    assert parsed.pre_post == ((7, 8), (0, 0))


@pytest.mark.parametrize(("name", "value"), [("ann_id", "a"), ("ann_bbox", "(1, "), ("event_date", "16.05.2023")])
def test_other_spellings_are_refused(name, value):
    told = {**annotation_attributes([annotation(1, "2023-05-16")], DAYS), "annotated": "True", name: value}
    with pytest.raises(LayoutError, match="not those of a Sen12Landslides patch"):
        parse_attributes(told)
    del told[name]
    with pytest.raises(LayoutError, match=name):
        parse_attributes(told)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2022-12-31", (0, 0)),
        ("2023-01-01", (0, 0)),
        ("2023-01-02", (0, 1)),
        ("2023-01-21", (0, 1)),
        ("2023-01-22", (1, 2)),
        ("2023-10-08", (13, 14)),
        ("2023-10-09", (14, 14)),
    ],
)
def test_images_before_and_after_an_event(day, expected):
    assert pre_post_indices(date.fromisoformat(day), DAYS) == expected


def test_the_centre_is_told_in_metres_of_a_corner_as_released():
    grid = make_grid(epsg=32632, left=755200.0, top=4881920.0, size=128)
    told = patch_attributes([], DAYS, sensor=SENSORS["s1asc"], grid=grid, annotated=True)
    assert (told["center_lat"], told["center_lon"], told["crs"]) == (4881280.0, 755840.0, "EPSG:32632")
    assert (told["satellite"], told["annotated"]) == ("s1-asc", "True")
