"""The dataset's folder: whose it is, what may be done with it, and that nothing else in it is touched."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.records import make_recipe

from pipeline import __version__
from pipeline.errors import LayoutError, RecipeError
from pipeline.folder import (
    MEMBERS,
    Existing,
    Request,
    check_folder,
    clear_folder,
    read_provenance,
    read_recipe,
    start_folder,
)


@pytest.fixture
def asked(tmp_path: Path) -> Request:
    places = tmp_path / "slides.geojson"
    places.write_text('{"type": "FeatureCollection", "features": []}')
    catalogue = tmp_path / "catalog.json"
    catalogue.write_text("{}")
    return Request(recipe=make_recipe(), places=str(places), source=str(catalogue), out=tmp_path / "out")


def plan_of(request: Request) -> Path:
    """Start the folder and pretend that the plan is made."""
    start_folder(request)
    (request.out / "plan.parquet").write_bytes(b"plan")
    return request.out


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
def test_a_folder_that_is_new_or_empty_is_free(asked: Request, existing: Existing) -> None:
    assert check_folder(asked, existing) is False
    asked.out.mkdir()
    assert check_folder(asked, existing) is False


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
def test_a_file_is_no_folder(asked: Request, existing: Existing) -> None:
    asked.out.write_text("a file")
    with pytest.raises(RecipeError, match=rf"{asked.out} is a file; name a folder"):
        check_folder(asked, existing)


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
@pytest.mark.parametrize("held", [("notes.txt",), ("recipe.yaml",), ("provenance.json", "plan.parquet")])
def test_a_folder_of_something_else_is_never_taken(asked: Request, existing: Existing, held: tuple[str, ...]) -> None:
    asked.out.mkdir()
    for name in held:
        (asked.out / name).write_text("mine")
    with pytest.raises(RecipeError, match=r"is not empty and holds no dataset of this program; name another folder$"):
        check_folder(asked, existing)
    assert sorted(file.name for file in asked.out.iterdir()) == sorted(held)


def test_a_started_folder_says_what_it_was_made_from(asked: Request) -> None:
    start_folder(asked)
    assert read_recipe(asked.out) == asked.recipe
    assert read_provenance(asked.out) == asked.provenance
    assert asked.provenance["sen12_pipeline"] == __version__
    assert asked.provenance["places"] == "slides.geojson"
    assert len(asked.provenance["places_sha256"]) == 64


def test_only_a_finished_plan_of_the_same_request_is_gone_on_from(asked: Request) -> None:
    start_folder(asked)
    assert check_folder(asked, "resume") is False
    plan_of(asked)
    assert check_folder(asked, "resume") is True


def test_a_dataset_is_not_touched_without_leave(asked: Request) -> None:
    plan_of(asked)
    with pytest.raises(RecipeError, match=r"holds this dataset already; .*resume.*overwrite"):
        check_folder(asked, "refuse")


@pytest.mark.parametrize("existing", ["refuse", "resume"])
@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        (("seed=7",), "seed differ"),
        (("window.before=1", "places.columns.id=x", "seed=7"), "places.columns.id, seed, window.before differ"),
        (("window.before=1", "window.after=1", "places.margin=1", "seed=7"), "places.margin, seed, .* and more differ"),
        (("bands={S2L2A: [B02]}",), "bands.S2L2A differ"),
    ],
)
def test_another_recipe_is_refused_with_what_differs(
    asked: Request, existing: Existing, overrides: tuple[str, ...], difference: str
) -> None:
    plan_of(asked)
    other = replace(asked, recipe=make_recipe(*overrides))
    with pytest.raises(RecipeError, match=rf"was made from another request \({difference}\)") as caught:
        check_folder(other, existing)
    assert "\n" not in str(caught.value)
    assert check_folder(other, "overwrite") is False


def test_other_places_or_another_source_are_refused(asked: Request, tmp_path: Path) -> None:
    plan_of(asked)
    with pytest.raises(RecipeError, match=r"\(source differ\)"):
        check_folder(replace(asked, source="planetary-computer"), "resume")
    Path(asked.places).write_text("{}")
    with pytest.raises(RecipeError, match=r"\(places_sha256 differ\)"):
        check_folder(asked, "resume")


def test_the_same_places_elsewhere_and_the_same_source_by_another_path_are_the_same(
    asked: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(asked)
    moved = tmp_path / "elsewhere.geojson"
    shutil.copy(asked.places, moved)
    monkeypatch.chdir(tmp_path)
    assert check_folder(replace(asked, places=str(moved), source="./catalog.json"), "resume") is True


@pytest.mark.parametrize("suffix", [".shp", ".dbf", ".prj"])
def test_every_file_of_a_shapefile_counts(asked: Request, tmp_path: Path, suffix: str) -> None:
    for part in (".shp", ".shx", ".dbf", ".prj"):
        (tmp_path / f"slides{part}").write_bytes(part.encode())
    shapes = replace(asked, places=str(tmp_path / "slides.shp"))
    plan_of(shapes)
    assert check_folder(shapes, "resume") is True
    (tmp_path / f"slides{suffix}").write_bytes(b"changed")
    with pytest.raises(RecipeError, match=r"\(places_sha256 differ\)"):
        check_folder(shapes, "resume")


def test_places_that_cannot_be_read_are_named(asked: Request, tmp_path: Path) -> None:
    for places in (tmp_path / "gone.geojson", tmp_path):
        with pytest.raises(RecipeError, match=rf"^places file {places} cannot be read"):
            _ = replace(asked, places=str(places)).provenance


def test_starting_anew_removes_what_was_the_datasets_and_nothing_else(asked: Request) -> None:
    out = plan_of(asked)
    for name in ("all", "receipts", "metadata"):
        (out / name / "S2L2A").mkdir(parents=True)
        (out / name / "S2L2A" / "file").touch()
    (out / "ledger.parquet").touch()
    (out / "notes.txt").write_text("mine")
    (out / "mine").mkdir()
    start_folder(replace(asked, recipe=make_recipe("seed=7")))
    assert sorted(file.name for file in out.iterdir()) == ["mine", "notes.txt", "provenance.json", "recipe.yaml"]
    assert read_recipe(out).seed == 7


def test_clearing_follows_no_links_out_of_the_folder(asked: Request, tmp_path: Path) -> None:
    out = plan_of(asked)
    big = tmp_path / "big disk"
    big.mkdir()
    (big / "file").touch()
    (out / "all").symlink_to(big)
    clear_folder(out)
    assert not (out / "all").is_symlink()
    assert (big / "file").exists()


def test_a_folder_whose_clearing_was_interrupted_can_still_be_overwritten(
    asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = plan_of(asked)
    (out / "all").mkdir()

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            start_folder(asked)
    assert check_folder(asked, "overwrite") is False
    start_folder(asked)
    assert sorted(file.name for file in out.iterdir()) == ["provenance.json", "recipe.yaml"]


def test_clearing_an_absent_folder_does_nothing(tmp_path: Path) -> None:
    clear_folder(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_no_member_reaches_out_of_the_folder() -> None:
    assert len(set(MEMBERS)) == len(MEMBERS)
    assert all(Path(name).parts == (name,) and name not in {"", ".", ".."} for name in MEMBERS)


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=rf"^{tmp_path} holds no dataset: recipe\.yaml is not there$"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '"x"', '{"source": 1}'])
def test_damaged_provenance_is_named(asked: Request, text: str | None) -> None:
    out = plan_of(asked)
    path = out / "provenance.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(LayoutError, match=rf"^{path} cannot be read$"):
        read_provenance(out)
    if text is not None:
        with pytest.raises(LayoutError, match=r"provenance\.json cannot be read$"):
            check_folder(asked, "resume")
        assert check_folder(asked, "overwrite") is False


def test_a_damaged_recipe_is_refused_in_one_line_unless_overwritten(asked: Request) -> None:
    out = plan_of(asked)
    (out / "recipe.yaml").write_text("name: [")
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not YAML") as caught:
        check_folder(asked, "resume")
    assert "\n" not in str(caught.value)
    assert check_folder(asked, "overwrite") is False


def test_provenance_is_readable_json_with_sorted_keys(asked: Request) -> None:
    start_folder(asked)
    text = (asked.out / "provenance.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("existing", ["refuse", "resume", "overwrite"])
@pytest.mark.parametrize("kept", [(), ("provenance.json",)])
def test_a_folder_that_a_run_was_killed_in_while_it_began_is_free(
    asked: Request, existing: Existing, kept: tuple[str, ...]
) -> None:
    start_folder(asked)
    for file in asked.out.iterdir():
        if file.name not in kept:
            file.rename(asked.out / f".{file.name}.tmp")
    assert check_folder(asked, existing) is False
    start_folder(asked)
    assert sorted(file.name for file in asked.out.iterdir()) == ["provenance.json", "recipe.yaml"]
