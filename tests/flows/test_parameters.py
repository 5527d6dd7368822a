"""Parameters: what the form shows, what is refused before there is a run, and the request they make."""

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate
from pydantic import ValidationError as ModelError

from flows import parameters as module
from flows.build_dataset import build_dataset
from flows.parameters import ClusterChoice, cluster_setting, dotted, make_request, out_place, require_reach
from flows.plan_dataset import plan_dataset
from flows.publish_dataset import publish_dataset
from pipeline.cluster import ClusterSetting
from pipeline.demo import DEMO_OVERRIDES, SEASONAL_OVERRIDES
from pipeline.errors import RecipeError
from pipeline.mirror import Mirror
from pipeline.recipes import load_recipe, recipe_names
from pipeline.records import MODALITIES, Recipe

SCHEMA = parameter_schema(build_dataset.fn).model_dump_for_openapi()
OVERRIDES = SCHEMA["properties"]["overrides"]


def check(**parameters):
    validate({"out": "data", **parameters}, SCHEMA, raise_on_error=True)


@pytest.mark.parametrize("flow", [build_dataset, plan_dataset, publish_dataset], ids=lambda flow: flow.name)
def test_every_parameter_has_a_description(flow):
    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    assert schema["properties"]
    for name, shown in schema["properties"].items():
        assert shown.get("description"), name


def test_planning_takes_what_building_takes():
    planned = parameter_schema(plan_dataset.fn).model_dump_for_openapi()
    assert [*planned["properties"]] == [*SCHEMA["properties"]]
    assert planned["properties"]["overrides"]["properties"] == OVERRIDES["properties"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"recipe": "landslide"}, r"'landslide' does not match '\^\(landslides\|ssl4eo-s12\|"),
        ({"recipe": None}, "None is not of type 'string'"),
        ({"cluster": "17 abc"}, "'17 abc' does not match"),
        ({"cluster": 4}, "4 is not valid"),
        ({"cluster": {"kind": "slur"}}, "'slur' is not one of "),
        ({"existing": "never"}, "'never' is not one of "),
        ({"out": ""}, "''"),
        ({"overrides": 5}, "5 is not of type 'object'"),
        ({"overrides": {"windw.before": 90}}, r"\('windw.before' was unexpected\)"),
        ({"overrides": {"window": {"befor": 90}}}, r"\('befor' was unexpected\)"),
        ({"overrides": {"window.before": "long"}}, "'long' is not of type 'integer'"),
        ({"overrides": {"window": {"before": -1}}}, "-1 is less than the minimum of 0"),
        ({"overrides": {"max_cloud": 20}}, "20 is greater than the maximum of 1"),
        ({"overrides": {"modalities": ["S3"]}}, "'S3' is not one of "),
        ({"overrides": {"store": "zipped"}}, "'zipped' is not one of "),
        ({"overrides": {"seed": None}}, "None is not of type 'integer'"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_the_schema_with_one_line(wrong, line):
    (name,) = wrong
    with pytest.raises(ValidationError, match=f"^Validation failed for field .{name}.*{line}") as refused:
        check(**wrong)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"window.before": 90, "series_length": 8},
        {"window": {"before": 90}},
        {"window": None, "seasons": "two-years", "series_length": 4},
        {"anchor": 60, "bands.S2L2A": ["B02", "B03"], "places.columns.date": "day"},
        {"anchor": [60, 0], "bands": {"S2L2A": ["B02"]}, "split": {"val": 0.2}},
        {"modalities": ["S2L2A", "MASK"], "max_missing": None, "store": "published"},
    ],
    ids=str,
)
def test_what_the_schema_lets_pass_is_what_recipes_take(overrides):
    check(overrides=overrides)
    assert isinstance(load_recipe("landslides", dotted(overrides)), Recipe)


@pytest.mark.parametrize("name", recipe_names())
def test_every_value_of_every_recipe_passes_the_schema(name):
    recipe = load_recipe(name)
    check(recipe=name, overrides=recipe.model_dump(mode="json"))


def test_the_form_has_every_value_of_the_recipe_with_choices_and_without_defaults():
    shown = OVERRIDES["properties"]
    assert set(shown) == set(Recipe.model_fields)
    assert shown["store"]["enum"] == ["chunked", "published"]
    assert shown["modalities"]["items"]["enum"] == list(MODALITIES)
    assert shown["window"]["anyOf"][0]["properties"]["before"]["description"] == "Days before the event."
    # What the form fills in by itself would override the recipe.
    assert "'default'" not in str(OVERRIDES["properties"])
    assert "$ref" not in str(OVERRIDES)


def test_groups_are_merged_with_the_recipe_and_not_replaced():
    recipe = load_recipe("landslides", dotted({"window": {"before": 30}}))
    assert (recipe.window.before, recipe.window.after) == (30, load_recipe("landslides").window.after)
    assert dotted({"places": {"columns": {"date": "day"}, "margin": 2}}) == {
        "places.columns.date": "day",
        "places.margin": 2,
    }


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ("local", ClusterSetting()),
        ("local:4", ClusterSetting(workers=4)),
        ("tcp://10.0.0.1:8786", ClusterSetting(address="tcp://10.0.0.1:8786")),
        ("tls://scheduler:8786", ClusterSetting(address="tls://scheduler:8786")),
        ({"kind": "local"}, ClusterSetting()),
        ({"kind": "local", "workers": 4}, ClusterSetting(workers=4)),
        ({"kind": "address", "address": "tcp://10.0.0.1:8786"}, ClusterSetting(address="tcp://10.0.0.1:8786")),
    ],
    ids=str,
)
def test_what_the_schema_lets_pass_is_a_cluster(given, setting):
    check(cluster=given)
    whole = build_dataset.validate_parameters({"out": "data", "cluster": given})
    assert cluster_setting(whole["cluster"]) == setting


@pytest.mark.parametrize("kind", ["kubernetes", "slurm"])
@pytest.mark.parametrize("file", ["my cluster.yaml", "/etc/sen12/cluster.yaml"])
@pytest.mark.parametrize("spelling", ["text", "parts"])
def test_a_cluster_for_the_run_is_its_kind_and_its_file(kind, file, spelling, monkeypatch):
    given = f"{kind}:{file}" if spelling == "text" else {"kind": kind, "config": file}
    monkeypatch.setattr(module.ClusterSetting, "parse", lambda text: text)
    check(cluster=given)
    whole = build_dataset.validate_parameters({"out": "data", "cluster": given})
    assert cluster_setting(whole["cluster"]) == f"{kind}:{file}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "address"},
        {"kind": "slurm"},
        {"kind": "kubernetes", "config": "a.yaml", "workers": 3},
        {"kind": "local", "address": "tcp://10.0.0.1:8786"},
        {"kind": "local", "config": "a.yaml"},
    ],
    ids=str,
)
def test_parts_of_a_cluster_that_do_not_belong_together_are_refused(wrong):
    with pytest.raises(ModelError, match=r"^1 validation error[^$]*cluster: (address|workers|config) belongs to"):
        ClusterChoice.model_validate(wrong)


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        ("published/landslides", True),
        ("s3://bucket/prefix", True),
        ("gs://bucket", True),
        ("http://host/bucket", False),
        ("s3://key:secret@bucket", False),
        ("s3://bucket?token=1", False),
        ("", False),
    ],
)
def test_a_target_is_a_folder_or_an_object_store_without_credentials(target, passes):
    schema = parameter_schema(publish_dataset.fn).model_dump_for_openapi()
    parameters = {"dataset": "data", "target": target}
    if passes:
        validate(parameters, schema, raise_on_error=True)
    else:
        with pytest.raises(ValidationError, match="target"):
            validate(parameters, schema, raise_on_error=True)


@pytest.mark.parametrize(
    ("places", "source", "line"),
    [
        ("slides.geojson", None, "places is given, source is not: give both, or neither of them for the demo"),
        (None, "planetary-computer", "source is given, places is not: give both, or neither of them for the demo"),
    ],
)
def test_places_without_source_are_refused_and_the_other_way_round(places, source, line, tmp_path):
    with pytest.raises(RecipeError, match=f"^{line}$"):
        make_request("landslides", {}, places, source, Mirror(folder=tmp_path))


def test_a_run_writes_to_a_folder_or_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert out_place("data") == str(tmp_path / "data")
    assert out_place(f"file://{tmp_path}/data") == str(tmp_path / "data")
    assert out_place("s3://bucket/x") == "s3://bucket/x"


def test_a_demo_whose_archive_no_worker_sees_is_refused():
    elsewhere = ClusterSetting(address="tcp://10.0.0.1:8786")
    with pytest.raises(RecipeError, match=r"^the demo's archive lies on the machine of the run"):
        require_reach(None, "s3://bucket/x", elsewhere)
    require_reach(None, "data", elsewhere)
    require_reach(None, "s3://bucket/x", ClusterSetting(workers=2))
    require_reach("slides.gpkg", "s3://bucket/x", elsewhere)


def test_the_demo_into_a_store_has_its_archive_beside_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "demo_request", lambda *given: given)
    mirror = Mirror(folder=tmp_path / "x", store="s3://bucket/x")
    assert make_request("landslides", {}, None, None, mirror) == (tmp_path / "x.demo", "landslides", {}, tmp_path / "x")


def test_places_and_source_make_a_request(tmp_path):
    overrides = {"window": {"before": 30}}
    request = make_request("landslides", overrides, "slides.geojson", "planetary-computer", Mirror(folder=tmp_path))
    assert (request.places, request.source, request.out) == ("slides.geojson", "planetary-computer", tmp_path)
    assert request.recipe.window.before == 30


def test_neither_places_nor_source_make_the_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "demo_request", lambda *given: given)
    assert make_request("landslides", {"seed": 1}, None, None, Mirror(folder=tmp_path)) == (
        tmp_path,
        "landslides",
        {"seed": 1},
    )


def test_the_demo_of_a_seasonal_recipe_reads_the_seasonal_archive(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.demo.write_archive", lambda _: pytest.fail("the archive of dated landslides"))
    request = make_request("ssl4eo-s12", {"seed": 1}, None, None, Mirror(folder=tmp_path))
    assert request.places == str(tmp_path / "archive" / "places.csv")
    assert request.recipe == load_recipe("ssl4eo-s12", {**SEASONAL_OVERRIDES, "seed": 1})
    assert set(DEMO_OVERRIDES) - set(SEASONAL_OVERRIDES)


def test_a_recipe_file_that_is_gone_gives_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"^recipe file .*gone\.yaml does not exist"):
        make_request(str(tmp_path / "gone.yaml"), {}, "slides.geojson", "planetary-computer", tmp_path)
