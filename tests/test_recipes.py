"""Recipes: every fault named in one line, every override where it belongs, and a YAML text that says it all."""

from collections.abc import Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.errors import RecipeError
from pipeline.recipes import load_recipe, parse_overrides, recipe_from_tree, recipe_names, recipe_to_yaml
from pipeline.records import MODALITIES, Recipe

FAULTS = {
    "name": ("name='Big Slides'", "name: string should match pattern '.*', got 'Big Slides'"),
    "layout": ("layout=netcdf", "layout: input should be 'ssl4eo-s12-v1.1', got 'netcdf'"),
    "patch_size": ("patch_size=7", "patch_size: input should be greater than or equal to 8, got 7"),
    "resolution": ("resolution=0", "resolution: input should be greater than 0, got 0"),
    "anchor": ("anchor=[1, 2, 3]", r"anchor: tuple should have at most 2 items .*, got \[1, 2, 3\]"),
    "modalities": ("modalities=[]", r"modalities: tuple should have at least 1 item .*, got \[\]"),
    "bands": ("bands=[B02]", r"bands: input should be a valid dictionary, got \['B02'\]"),
    "series_length": ("series_length=0", "series_length: input should be greater than or equal to 1, got 0"),
    "window.before": ("window.before=-1", r"window\.before: input should be greater than or equal to 0, got -1"),
    "window.after": ("window.after=1.5", r"window\.after: input should be a valid integer.*, got 1\.5"),
    "seasons.dates": ("seasons={dates: []}", r"seasons\.dates: tuple should have at least 1 item"),
    "seasons.half_width": (
        "seasons={dates: [2021-01-01], half_width: 183}",
        r"seasons\.half_width: input should be less",
    ),
    "seasons.years": ("seasons={dates: [2021-01-01], years: 0}", r"seasons\.years: input should be greater"),
    "seasons.max_shift": (
        "seasons={dates: [2021-01-01], max_shift: -1}",
        r"seasons\.max_shift: input should be greater",
    ),
    "seasons.choose": (
        "seasons={dates: [2021-01-01], choose: best}",
        r"seasons\.choose: input should be 'least_cloudy'",
    ),
    "series.policy": ("series.policy=best", r"series\.policy: input should be 'event' or 'compat', got 'best'"),
    "series.before": ("series.before=-1", r"series\.before: input should be greater than or equal to 0, got -1"),
    "series.after": ("series.after=1.5", r"series\.after: input should be a valid integer.*, got 1\.5"),
    "series.max_gap": ("series.max_gap=0", r"series\.max_gap: input should be greater than or equal to 1, got 0"),
    "series.radar": ("series.radar=guess", r"series\.radar: input should be 'footprint' or 'measured', got 'guess'"),
    "series.max_missing_radar": (
        "series.max_missing_radar=5",
        r"series\.max_missing_radar: input should be less than or equal to 1, got 5",
    ),
    "pairing.max_gap": ("pairing.max_gap=-1", r"pairing\.max_gap: input should be greater than or equal to 0, got -1"),
    "pairing.orbit_state": (
        "pairing.orbit_state=up",
        r"pairing\.orbit_state: input should be 'ascending'",
    ),
    "max_missing": ("max_missing=2", "max_missing: input should be less than or equal to 1, got 2"),
    "complete": ("complete=maybe", "complete: input should be a valid boolean.*, got 'maybe'"),
    "offset": ("offset=500", "offset: input should be 0 or 1000, got 500"),
    "file_name": ("file_name=3", "file_name: input should be a valid string, got 3"),
    "packing": ("packing=tight", "packing: input should be 'local' or 'shuffled', got 'tight'"),
    "split.val": ("split={val: 1}", r"split\.val: input should be less than 1, got 1"),
    "store": ("store=v3", "store: input should be 'chunked' or 'published', got 'v3'"),
    "collections.S2L1C": ("collections.S2L1C=1", r"collections\.S2L1C: input should be a valid string, got 1"),
    "resampling.S2L1C": ("resampling.S2L1C=linear", r"resampling\.S2L1C: input should be 'nearest', .*, got 'linear'"),
    "max_cloud": ("max_cloud=20", "max_cloud: input should be less than or equal to 1, got 20"),
    "places.columns.id": ("places.columns.id=[a]", r"places\.columns\.id: input should be a valid string, got \['a'\]"),
    "places.columns.date": ("places.columns.date=3", r"places\.columns\.date: input should be a valid string, got 3"),
    "places.columns.date_from": (
        "places.columns.date_from=null",
        r"places\.columns\.date_from: input should be a valid string, got None",
    ),
    "places.columns.date_to": (
        "places.columns.date_to=2",
        r"places\.columns\.date_to: input should be a valid string, got 2",
    ),
    "places.columns.confidence": (
        "places.columns.confidence=0.5",
        r"places\.columns\.confidence: input should be a valid string, got 0\.5",
    ),
    "places.columns.region": (
        "places.columns.region=[a]",
        r"places\.columns\.region: input should be a valid string, got \['a'\]",
    ),
    "places.columns.lon": (
        "places.columns.lon=null",
        r"places\.columns\.lon: input should be a valid string, got None",
    ),
    "places.columns.lat": ("places.columns.lat=1.5", r"places\.columns\.lat: input should be a valid string, got 1\.5"),
    "places.min_distance": ("places.min_distance=-1", r"places\.min_distance: input should be greater than or equal"),
    "places.min_slope": ("places.min_slope=90", r"places\.min_slope: input should be less than 90, got 90"),
    "places.min_land": ("places.min_land=1.5", r"places\.min_land: input should be less than or equal to 1, got 1\.5"),
    "places.crs": ("places.crs=EPSG:4326", r"places\.crs: string should match pattern '.*', got 'EPSG:4326'"),
    "places.region": ("places.region=A_b", r"places\.region: string should match pattern '.*', got 'A_b'"),
    "places.extent": ("places.extent=abcd", r"places\.extent: input should be a valid tuple, got 'abcd'"),
    "places.margin": ("places.margin=-1", r"places\.margin: input should be greater than or equal to 0, got -1"),
    "places.negatives": ("places.negatives=-1", r"places\.negatives: input should be greater than or equal to 0"),
    "places.date": ("places.date=20230801", r"places\.date: input should be a valid string, got 20230801"),
    "collections.S2L2A": ("collections.S2L2A=1", r"collections\.S2L2A: input should be a valid string, got 1"),
    "collections.S1": ("collections.S1=[]", r"collections\.S1: input should be a valid string, got \[\]"),
    "collections.LULC": ("collections.LULC=3", r"collections\.LULC: input should be a valid string, got 3"),
    "collections.CLOUDS": ("collections.CLOUDS=3", r"collections\.CLOUDS: input should be a valid string, got 3"),
    "collections.DEM": ("collections.DEM={}", r"collections\.DEM: input should be a valid string, got {}"),
    "resampling.S2L2A": ("resampling.S2L2A=linear", r"resampling\.S2L2A: input should be 'nearest', .*, got 'linear'"),
    "resampling.S1": ("resampling.S1=mode", r"resampling\.S1: input should be 'nearest', 'bilinear', .*, got 'mode'"),
    "resampling.DEM": ("resampling.DEM=null", r"resampling\.DEM: input should be 'nearest', .*, got None"),
    "samples_per_shard": ("samples_per_shard=4097", "samples_per_shard: input should be less than or equal to 4096"),
    "own_modalities": ("own_modalities=3", r"own_modalities: input should be a valid dictionary, got 3"),
    "alternates": ("alternates=51", "alternates: input should be less than or equal to 50, got 51"),
    "seed": ("seed=-1", "seed: input should be greater than or equal to 0, got -1"),
}
"""Field to an override that breaks it, and what the error says."""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        models = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type)]
        models = [one for one in models if issubclass(one, BaseModel)]
        if models and get_origin(field.annotation) is not dict:
            yield from leaves(models[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_table_of_faults_covers_every_field() -> None:
    assert sorted(FAULTS) == sorted(leaves(Recipe))


@pytest.mark.parametrize(("override", "message"), FAULTS.values(), ids=FAULTS)
def test_a_value_out_of_range_is_named_with_what_was_expected(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^recipe landslides: {message}") as caught:
        load_recipe("landslides", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modalities=[S2L1C]", "S2L1C and S2RGB rest on S2L2A: name it among modalities, too"),
        (
            "modalities=[DEM,MASK_SERIES]",
            "MASK_SERIES follows the images of a series: name S2L2A or another series, too",
        ),
        ("modalities=[DEM, DEM]", "modalities names one of them twice"),
        ("bands.S2L1B=[B10]", "bands: unknown modality S2L1B; there are S2L2A, "),
        ("bands.S2L2A=[B10]", "S2L2A has no band B10; it has B01, B02"),
        ("bands.S2L2A=[]", r"bands\.S2L2A: name at least one band, and each only once"),
        ("bands.S2L2A=[B02, B02]", r"bands\.S2L2A: name at least one band, and each only once"),
        ("places.extent=[0, 0, 1, 1]", r"places: places\.extent is in metres of one UTM zone: give places\.crs too"),
        ("modalities=[SCL1]", "unknown modality SCL1; there are S2L2A, "),
        ("seasons=two-years", "give either window .* or seasons, and set the other to null"),
        ("window=null", "give either window .* or seasons, and set the other to null"),
        ("file_name=x", "file_name must hold {split} and {number}, and no slash"),
        ("file_name='{split}-{number}-{day}'", r"file_name takes {name}, {split} and {number:06d} only"),
        (
            "series={policy: compat, before: 5}",
            "series: before, after and max_gap are for policy event: compat keeps no places and allows gaps",
        ),
        ("series={policy: compat, max_gap: 30}", "series: before, after and max_gap are for policy event"),
        ("series={before: 8, after: 8}", "series keeps 16 places, but series_length is 15"),
        ("places=3", "places: input should be a valid dictionary.*, got 3"),
    ],
)
def test_values_that_do_not_go_together_are_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("landslides", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("windows=3", r"unknown key windows; did you mean window\?$"),
        ("window.befor=3", r"unknown key window\.befor; did you mean before\?$"),
        ("places.negative=1", r"unknown key places\.negative; did you mean negatives\?$"),
        ("places.columns.longi=x", r"unknown key places\.columns\.longi; did you mean lon\?$"),
        ("collections.S2L1B=x", r"unknown key collections\.S2L1B; did you mean S2L1C\?$"),
        ("resampling.S2=x", r"unknown key resampling\.S2; did you mean S2L2A\?$"),
        ("window.qqq=3", r"unknown key window\.qqq; there are before, after$"),
        ("cube.depth=3", r"unknown key cube; there are name, layout"),
    ],
)
def test_an_unknown_key_is_named_with_the_likely_one_at_any_depth(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("landslides", [override])


def test_seasons_have_no_series_rules() -> None:
    seasonal = ["window=null", "seasons={dates: [2021-01-01]}", "series_length=1"]
    assert load_recipe("landslides", seasonal).series == load_recipe("landslides").series
    with pytest.raises(RecipeError, match="series is for a window around an event: leave it as it is beside seasons"):
        load_recipe("landslides", [*seasonal, "series.policy=compat"])


def test_a_series_of_one_is_fine_with_the_places_that_are_kept_by_default() -> None:
    assert load_recipe("landslides", ["series_length=1"]).series.before == 1


def test_every_fault_of_a_recipe_is_in_the_one_line() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree({"name": "x", "seeds": 1, "window": {"before": -1}}, where="recipe x.yaml")
    text = str(caught.value)
    assert text.startswith("recipe x.yaml: ")
    for fault in ("unknown key seeds; did you mean seed?", "key window.after is missing", "key patch_size is missing"):
        assert fault in text
    assert "window.before: input should be greater than or equal to 0, got -1" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "key", [name for name, field in Recipe.model_fields.items() if field.is_required()], ids=lambda key: key
)
def test_a_missing_key_is_named(key: str) -> None:
    tree = yaml.safe_load(recipe_to_yaml(load_recipe("landslides")))
    del tree[key]
    with pytest.raises(RecipeError, match=f"^here: key {key} is missing$"):
        recipe_from_tree(tree, where="here")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("window.before=90", "window.before", 90),
        (" window = {before: 1, after: 2}", "window", {"before": 1, "after": 2}),
        ("places.columns.id=grid_id", "places.columns.id", "grid_id"),
        ("places.columns.id=null", "places.columns.id", None),
        ("places.columns=null", "places.columns", None),
        ("max_cloud= 0.5 ", "max_cloud", 0.5),
        ("anchor=[5, 10.5]", "anchor", [5, 10.5]),
        ("bands.S2L2A=[B02, B03]", "bands.S2L2A", ["B02", "B03"]),
        ("places.region='7'", "places.region", "7"),
        ("places.columns.date=a=b", "places.columns.date", "a=b"),
        ("name=", "name", None),
    ],
)
def test_the_right_side_of_an_override_is_yaml(override: str, key: str, value: Any) -> None:
    assert parse_overrides([override]) == {key: value}


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    plain = load_recipe("landslides")
    changed = load_recipe(
        "landslides", ["window.before=90", "places.columns.id=slide", "bands.DEM=[DEM]", "collections.S1=mine"]
    )
    assert changed.window.before == 90
    assert changed.places.columns.id == "slide"
    assert changed.bands_of("DEM") == ("DEM",)
    assert changed.collections.S1 == "mine"
    undone = {"window": plain.window, "places": plain.places, "bands": plain.bands, "collections": plain.collections}
    assert changed.model_copy(update=undone) == plain


def test_overrides_may_come_as_a_mapping_and_the_last_one_wins() -> None:
    assert load_recipe("landslides", {"window.after": 3, "seed": 7}).window.after == 3
    assert load_recipe("landslides", ["seed=1", "seed=2"]).seed == 2


def test_one_number_as_anchor_serves_both_axes() -> None:
    assert load_recipe("landslides", ["anchor=60"]).anchor == (60.0, 60.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("window.before", r"^override 'window\.before' is not key=value, as in window\.before=90$"),
        ("=3", r"^override '=3' is not key=value"),
        ("seed=[1", r"^override 'seed=\[1' is not YAML: "),
        ("name.first=x", r"^override name\.first: name holds a value, not a group of keys$"),
        ("bands.S2L2A.first=x", r"^override bands\.S2L2A\.first: S2L2A holds a value, not a group of keys$"),
    ],
)
def test_an_override_that_cannot_be_applied_is_refused_in_one_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("landslides", [override])
    assert "\n" not in str(caught.value)


def test_a_recipe_that_does_not_exist_is_named_with_the_likely_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^no recipe 'landslide'; did you mean landslides\?$"):
        load_recipe("landslide")
    with pytest.raises(RecipeError, match=r"^no recipe 'zzz'; there are .*landslides"):
        load_recipe("zzz")
    with pytest.raises(RecipeError, match=r"^recipe file .*gone\.yaml does not exist$"):
        load_recipe(str(tmp_path / "gone.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- name: x", "is not a YAML mapping$"),
        ("", "is not a YAML mapping$"),
        ("name: [x", "is not YAML: "),
        ("1: 2", "1: keys should be strings, got 1"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(str(file))
    assert "\n" not in str(caught.value)


def test_every_shipped_recipe_loads_and_bears_the_name_of_its_file() -> None:
    assert "landslides" in recipe_names()
    for name in recipe_names():
        assert load_recipe(name).name == name


def test_the_landslides_recipe_says_what_sen12landslides_has() -> None:
    recipe = load_recipe("landslides")
    assert (recipe.patch_size, recipe.resolution, recipe.series_length) == (128, 10.0, 15)
    assert recipe.step == 1280.0
    assert recipe.timesteps_of("S2L2A") == 15
    assert recipe.timesteps_of("DEM") == recipe.timesteps_of("MASK") == recipe.timesteps_of("MASK_FRACTION") == 1
    assert recipe.timesteps_of("MASK_SERIES") == 15
    assert [modality.name for modality in recipe.wanted] == list(recipe.modalities)
    assert recipe.bands_of("S1ASC") == ("vv", "vh")


def test_the_landslides_recipe_spells_its_series_rules_out() -> None:
    text = (resources.files("pipeline.recipes") / "landslides.yaml").read_text(encoding="utf-8")
    defaults = Recipe.model_fields["series"].default.model_dump()
    assert yaml.safe_load(text)["series"] == defaults


def test_a_recipe_is_frozen_at_every_depth() -> None:
    recipe = load_recipe("landslides")
    for part, field in ((recipe, "seed"), (recipe.window, "before"), (recipe.places.columns, "id")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, 1)


finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))
slug = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
resampling = st.sampled_from(["nearest", "bilinear", "cubic", "average"])
days = st.dates(date(1990, 1, 1), date(2090, 1, 1)).map(date.isoformat)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    modalities = draw(st.lists(st.sampled_from(list(MODALITIES)), min_size=1, unique=True))
    if {"S2L1C", "S2RGB"} & set(modalities) and "S2L2A" not in modalities:
        modalities.append("S2L2A")
    if "MASK_SERIES" in modalities and set(modalities) <= {"DEM", "MASK", "MASK_FRACTION", "MASK_SERIES"}:
        modalities.append("S1ASC")
    bands = {
        name: draw(st.lists(st.sampled_from(MODALITIES[name].band_names), min_size=1, unique=True))
        for name in draw(st.sets(st.sampled_from(modalities)))
    }
    crs = draw(st.none() | st.integers(1, 60).map(lambda zone: f"EPSG:326{zone:02d}"))
    extent = st.tuples(finite, finite, finite, finite).map(list)
    places = {
        "columns": {"id": draw(st.none() | names), "date": draw(names), "lon": draw(names), "lat": "y"},
        "crs": crs,
        "region": draw(st.none() | slug),
        "extent": draw(st.none() | extent) if crs else None,
        "margin": draw(st.integers(0, 64)),
        "negatives": draw(st.floats(0, 1e6)),
        "date": draw(st.none() | days),
    }
    return {
        "name": draw(slug),
        "patch_size": draw(st.integers(8, 4096)),
        "resolution": draw(st.floats(0, 1e4, exclude_min=True)),
        "anchor": draw(finite | st.tuples(finite, finite).map(list)),
        "modalities": modalities,
        "bands": bands,
        "series_length": draw(st.integers(1, 1000)),
        "window": {"before": draw(st.integers(0, 10_000)), "after": draw(st.integers(0, 10_000))},
        "max_cloud": draw(st.floats(0, 1)),
        "series": draw(
            st.just({"policy": "compat", "radar": "footprint"})
            | st.fixed_dictionaries({"max_gap": st.none() | st.integers(1, 400), "max_missing_radar": st.floats(0, 1)})
        ),
        "places": places,
        "collections": {"S1": draw(st.none() | names)},
        "resampling": {"S2L2A": draw(resampling), "DEM": draw(resampling)},
        "samples_per_shard": draw(st.integers(1, 4096)),
        "seed": draw(st.integers(0, 2**63)),
    }


@given(trees())
def test_the_yaml_of_any_recipe_reads_back_to_an_equal_recipe(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    recipe = recipe_from_tree(tree, where="drawn")
    file = tmp_path_factory.getbasetemp() / "drawn.yaml"
    file.write_text(recipe_to_yaml(recipe), encoding="utf-8")
    assert load_recipe(str(file)) == recipe


def test_a_date_may_be_written_without_quotes_as_the_error_message_suggests() -> None:
    assert load_recipe("landslides", ["places.date=2023-08-01"]).places.date == "2023-08-01"


@pytest.mark.parametrize("override", ["resolution=.inf", "places.negatives=.inf", "anchor=.nan", "anchor=[0, .inf]"])
def test_infinite_numbers_are_refused(override: str) -> None:
    with pytest.raises(RecipeError, match="finite"):
        load_recipe("landslides", [override])


def test_a_file_in_another_encoding_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes("name: café".encode("latin-1"))
    with pytest.raises(RecipeError, match="UTF-8"):
        load_recipe(str(file))


ALIASES = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40))])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ALIASES, "uses YAML aliases"),
        ("!!python/object/apply:os.system ['touch evil']", "is not YAML"),
        ("seed: " + "[" * 3000, "nested too deeply"),
        ("seed: 2024-13-45", "is not YAML"),
        ("seed: !!timestamp x", "is not YAML"),
        ("seed: " + "9" * 5000, "is not YAML"),
    ],
)
def test_yaml_that_runs_code_or_explodes_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=problem) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)
