"""The deployments file: entrypoints, parameters, pools and limits of every deployment, without a server."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools import validate

from flows.parameters import cluster_setting
from pipeline.cluster import ClusterSetting
from pipeline.recipes import load_recipe
from pipeline.records import Recipe

PREFECT_YAML = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
CONTENT = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))
DEPLOYMENTS = CONTENT["deployments"]
LOCAL = [one for one in DEPLOYMENTS if one["work_pool"]["name"] == "local"]
ELSEWHERE = {"landslides-k8s": ("kubernetes", "kubernetes"), "landslides-slurm": ("slurm", "slurm")}


def full_name(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].rpartition('.')[2].replace('_', '-')}/{deployment['name']}"


every = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)


def flow_of(deployment: dict[str, Any]) -> Flow:
    return import_object(deployment["entrypoint"])


def test_every_way_to_build_plan_and_publish_has_its_deployment():
    assert [full_name(deployment) for deployment in DEPLOYMENTS] == [
        "build-dataset/landslides",
        "build-dataset/ssl4eo-s12",
        "build-dataset/landslides-smoke",
        "build-dataset/landslides-k8s",
        "build-dataset/landslides-slurm",
        "plan-dataset/landslides",
        "plan-dataset/ssl4eo-s12",
        "publish-dataset/landslides",
        "publish-dataset/ssl4eo-s12",
    ]


@every
def test_entrypoint_is_the_flow_in_an_installed_module(deployment):
    loaded = flow_of(deployment)
    assert isinstance(loaded, Flow)
    assert loaded.name == full_name(deployment).partition("/")[0]


@every
def test_parameters_fit_the_flow(deployment):
    schema = parameter_schema(flow_of(deployment).fn).model_dump_for_openapi()
    validate(deployment["parameters"], schema, raise_on_error=True)
    whole = flow_of(deployment).validate_parameters(deployment["parameters"])
    assert isinstance(load_recipe(whole.get("recipe", "landslides"), whole.get("overrides") or {}), Recipe)


@pytest.mark.parametrize("deployment", LOCAL, ids=full_name)
def test_what_runs_on_this_machine_stays_in_the_folder_of_the_worker(deployment):
    whole = flow_of(deployment).validate_parameters(deployment["parameters"])
    assert cluster_setting(whole.get("cluster", "local")) == ClusterSetting()
    assert not any(Path(whole[name]).is_absolute() for name in ("out", "dataset", "target") if name in whole)


def test_planning_and_building_share_recipe_and_folder():
    parameters = {full_name(one): one["parameters"] for one in DEPLOYMENTS}
    for name in ("landslides", "ssl4eo-s12"):
        assert parameters[f"plan-dataset/{name}"] == parameters[f"build-dataset/{name}"]
        out = parameters[f"build-dataset/{name}"]["out"]
        assert parameters[f"publish-dataset/{name}"]["dataset"] == f"{out}/dataset"


def test_no_two_deployments_build_into_one_folder():
    folders = [one["parameters"]["out"] for one in DEPLOYMENTS if full_name(one).startswith("build-dataset/")]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_cluster_has_its_own_pool_and_its_own_settings_file(name):
    deployment = next(one for one in DEPLOYMENTS if one["name"] == name)
    pool, kind = ELSEWHERE[name]
    assert deployment["work_pool"]["name"] == pool
    assert deployment["parameters"]["cluster"]["kind"] == kind
    assert deployment["parameters"]["cluster"]["config"].endswith(".yaml")


@every
def test_runs_of_one_deployment_wait_for_each_other(deployment):
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@every
def test_runs_show_the_package_log(deployment):
    variables = deployment["work_pool"]["job_variables"]
    assert variables["env"] == {"PREFECT_LOGGING_EXTRA_LOGGERS": "pipeline"}
    # Without it a run works in a temporary folder, which goes with what it wrote.
    assert variables.get("working_dir") == (None if deployment["name"] == "landslides-k8s" else ".")


def test_a_work_pool_is_named_once_and_made_when_it_is_not_there():
    text = PREFECT_YAML.read_text(encoding="utf-8")
    used = {one["work_pool"]["name"] for one in DEPLOYMENTS}
    assert used == {"local", "slurm", "kubernetes"}
    for name in used:
        assert len(re.findall(rf"^\s*name: {name}$", text, re.MULTILINE)) == 1
    (step,) = CONTENT["build"]
    pools = step["flows.work_pools.make_missing"]["pools"]
    assert {name: pool["type"] for name, pool in pools.items()} == {
        "local": "process",
        "slurm": "process",
        "kubernetes": "kubernetes",
    }


def test_nothing_is_fetched():
    assert CONTENT["pull"] == []
