import json
from dataclasses import replace

import pandas as pd
import pytest

from pipeline.errors import RecipeError
from pipeline.splits.tasks import PUBLISHED_EXCLUDE, TASKS, Task, filter_patches

GOLDEN = "golden/sen12landslides/tasks"


def entries(shared, name):
    splits = json.loads((shared / GOLDEN / name).read_text())
    table = pd.DataFrame([entry for part in splits.values() for entry in part])
    return table.assign(is_annotated=table.pixel_annotated > 0)


def table(**columns):
    frame = pd.DataFrame(
        {
            "id": ["nepal_1", "italy_2", "italy_3", "USA_alaska_4"],
            "pixel_annotated": [60, 49, 0, 50],
            "inventory": ["nepal", "italy", "italy", "usa"],
        }
    )
    return frame.assign(is_annotated=frame.pixel_annotated > 0, **columns)


def kept(frame, **conditions):
    return filter_patches(frame, Task(name="mine", **conditions)).id.tolist()


def test_published_detection_comes_from_the_anomaly_patches(shared):
    published = replace(TASKS["S12LS-LD"], exclude=PUBLISHED_EXCLUDE)
    found = filter_patches(entries(shared, "S12LS-AD/raw/s1dsc/splits.json"), published)
    assert len(found) == 4666
    assert not found.id.str.contains("alaska|nepal").any()
    in_all = set(entries(shared, "S12LS-LD/harmonized/splits_aligned.json").id)
    assert len(in_all) == 4392
    assert in_all <= set(found.id)


def test_published_detection_passes_its_own_conditions(shared):
    patches = entries(shared, "S12LS-LD/harmonized/s2/splits.json")
    assert len(filter_patches(patches, replace(TASKS["S12LS-LD"], exclude=PUBLISHED_EXCLUDE))) == len(patches) == 4988


def test_the_other_task_takes_everything(shared):
    patches = entries(shared, "S12LS-AD/raw/s1dsc/splits.json")
    assert len(filter_patches(patches, TASKS["S12LS-AD"])) == len(patches) == 12622


def test_conditions_one_by_one():
    assert kept(table()) == ["nepal_1", "italy_2", "italy_3", "USA_alaska_4"]
    assert kept(table(), min_annotated_pixel=50) == ["nepal_1", "USA_alaska_4"]
    assert kept(table(), annotated_only=True) == ["nepal_1", "italy_2", "USA_alaska_4"]
    assert kept(table(), non_annotated_only=True) == ["italy_3"]
    assert kept(table(), exclude=PUBLISHED_EXCLUDE) == ["italy_2", "italy_3"]
    assert kept(table(), include=("Italy", "alaska")) == ["italy_2", "italy_3", "USA_alaska_4"]
    assert kept(table(), include=("italy",), exclude=("_2",)) == ["italy_3"]


def test_confidence_is_of_annotated_patches():
    frame = table(confidence=[0.2, 0.9, None, 0.5])
    assert kept(frame, min_confidence=0.5) == ["italy_2", "italy_3", "USA_alaska_4"]
    assert kept(frame, max_confidence=0.5) == ["nepal_1", "USA_alaska_4"]
    assert kept(frame, min_confidence=0.5, max_confidence=0.95) == ["italy_2", "USA_alaska_4"]


def test_what_is_refused():
    with pytest.raises(RecipeError, match="annotated patches only and non-annotated"):
        Task(name="mine", annotated_only=True, non_annotated_only=True)
    with pytest.raises(RecipeError, match="column pixel_annotated"):
        kept(table().drop(columns="pixel_annotated"))
    with pytest.raises(RecipeError, match="column confidence"):
        kept(table(), min_confidence=0.5)
    with pytest.raises(RecipeError, match="patch italy_2 has none"):
        kept(table(confidence=[0.2, None, None, 0.5]), min_confidence=0.5)
