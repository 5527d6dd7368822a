"""Stages as tasks: what is tried again, how often, and that Prefect keeps nothing."""

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.logging import disable_run_logger
from prefect.states import Failed

from flows import tasks as module
from pipeline.errors import (
    AllowanceError,
    LayoutError,
    PipelineError,
    PixelError,
    RecipeError,
    SourceError,
    TransientSourceError,
)
from pipeline.mirror import Mirror

PROVIDER = {
    module.search: [10, 20, 40, 80],
    module.survey: [30, 60, 120],
    module.build: [60, 120],
    module.copy: [30, 60, 120, 240],
}
DISK = (module.prepare, module.plan, module.price, module.finish, module.check)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientSourceError("throttled"), True),
        (AllowanceError("used up"), False),
        (SourceError("gone"), False),
        (RecipeError("wrong"), False),
        (PixelError("float64"), False),
        (LayoutError("torn"), False),
        (PipelineError("no workers"), False),
        (OSError("disk is full"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_transient_trouble_is_tried_again(error, expected):
    assert module.is_transient(module.search, None, Failed(data=error)) is expected


@pytest.mark.parametrize("stage", PROVIDER, ids=lambda stage: stage.name)
def test_a_stage_that_talks_to_a_provider_is_tried_again_with_longer_and_longer_breaks(stage):
    assert stage.retry_condition_fn is module.is_transient
    assert stage.retry_delay_seconds == PROVIDER[stage]
    assert stage.retries == len(PROVIDER[stage])


@pytest.mark.parametrize("stage", DISK, ids=lambda stage: stage.name)
def test_a_stage_that_only_reads_the_disk_is_not_tried_again(stage):
    assert stage.retries == 0


@pytest.mark.parametrize("stage", [*PROVIDER, *DISK], ids=lambda stage: stage.name)
def test_no_stage_is_cached(stage):
    assert (stage.cache_policy, stage.persist_result) == (NO_CACHE, False)


def test_mirrors_become_part_of_the_request(tmp_path):
    with disable_run_logger():
        mirror = Mirror(folder=tmp_path)
        request = module.prepare.fn("landslides", {}, "p.geojson", "planetary-computer", ["earth-search"], mirror)
    assert (request.source, request.mirrors) == ("planetary-computer", ("earth-search",))
