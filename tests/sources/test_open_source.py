"""From what a user writes after --source to a source, or to one clear line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError, TransientSourceError
from pipeline.records.recipe import Collections
from pipeline.sources import PROVIDERS, open_source
from pipeline.sources.signing import TokenSignature, Unsigned
from pipeline.sources.stac import StacSource, api_scenes
from pipeline.sources.static import static_scenes

TAKES = (
    "--source takes a path or URL of a STAC catalogue or one of planetary-computer, earth-search, cdse, earth-engine"
)


def opened(place: str, collections: Collections | None = None) -> StacSource:
    source = open_source(place, collections or Collections())
    assert isinstance(source, StacSource)
    return source


@pytest.mark.parametrize(
    ("name", "collections"),
    [
        (
            "planetary-computer",
            {"S2L2A": "sentinel-2-l2a", "S2L1C": "sentinel-2-l1c", "S1": "sentinel-1-rtc", "DEM": "cop-dem-glo-30"},
        ),
        (
            "earth-search",
            {"S2L2A": "sentinel-2-c1-l2a", "S2L1C": "sentinel-2-l1c", "S1": "sentinel-1-grd", "DEM": "cop-dem-glo-30"},
        ),
        (
            "cdse",
            {
                "S2L2A": "sentinel-2-l2a",
                "S2L1C": "sentinel-2-l1c",
                "S1": "sentinel-1-grd",
                "DEM": "cop-dem-glo-30-dged-cog",
            },
        ),
    ],
)
def test_a_provider_brings_its_own_collections(name: str, collections: dict[str, str]) -> None:
    source = opened(name)
    assert dict(source.collections) == collections
    assert source.root == PROVIDERS[name].url
    assert source.candidates is api_scenes
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_address_of_a_known_provider_is_that_provider(slash: str) -> None:
    source = opened(f"{PROVIDERS['planetary-computer'].url}{slash}")
    assert source.signature == TokenSignature()
    assert source.name == f"{PROVIDERS['planetary-computer'].url}{slash}"


def test_the_recipe_decides_over_the_provider() -> None:
    source = opened("cdse", Collections(S1="sentinel-1-rtc"))
    assert source.collections["S1"] == "sentinel-1-rtc"
    assert source.collections["DEM"] == "cop-dem-glo-30-dged-cog"


def test_files_of_cdse_are_read_from_its_own_object_store() -> None:
    assert dict(open_source("cdse", Collections()).gdal_env()) == {
        "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def test_only_planetary_computer_signs() -> None:
    signatures = {name: opened(name).signature for name in PROVIDERS}
    assert signatures.pop("planetary-computer") == TokenSignature()
    assert set(signatures.values()) == {Unsigned()}


@pytest.mark.parametrize("spelling", ["{path}", "{folder}", "file://{path}"])
def test_a_static_catalogue_may_be_given_as_file_folder_or_url(catalogue: Path, spelling: str) -> None:
    source = opened(spelling.format(path=catalogue, folder=catalogue.parent))
    assert source.root == str(catalogue)
    assert source.candidates is static_scenes


def test_a_relative_path_still_works_in_another_folder(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(catalogue.parent.parent)
    source = opened("catalogue")
    assert source.name == "catalogue"
    assert source.root == str(catalogue)


def test_an_api_is_told_from_a_catalogue_by_its_root(api: Any, catalogue_url: str) -> None:
    assert opened(api.address).candidates is api_scenes
    assert opened(catalogue_url).candidates is static_scenes


def test_a_link_to_a_search_is_enough_for_an_api(tmp_path: Path) -> None:
    root = tmp_path / "landing.json"
    links = [{"rel": "search", "href": "./search"}]
    root.write_text(json.dumps({"stac_version": "1.0.0", "id": "x", "links": links}))
    assert opened(str(root)).candidates is api_scenes


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere/catalog.json", f"catalogue nowhere/catalog.json does not exist; {TAKES}"),
        ("planetary-compter", f"unknown source planetary-compter: did you mean planetary-computer? {TAKES}"),
        ("Earth_Search", f"unknown source Earth_Search: did you mean earth-search? {TAKES}"),
        ("landsat", f"unknown source landsat: {TAKES}"),
        ("http://[::1", f"catalogue http://[::1 does not exist; {TAKES}"),
        ("file://[x", f"catalogue file://[x does not exist; {TAKES}"),
    ],
)
def test_what_is_not_there_is_one_line(place: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        open_source(place, Collections())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"# notes", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "is not a STAC catalogue"),
        (b'{"type": "Feature", "stac_version": "1.0.0", "links": []}', "is not a STAC catalogue"),
    ],
)
def test_a_file_that_is_no_catalogue_is_one_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"file\.json {complaint}.*; --source takes") as caught:
        open_source(str(path), Collections())
    assert "\n" not in str(caught.value)


def test_a_url_that_leads_nowhere_is_one_line(tmp_path: Path, serve_folder: Callable[[Path], str]) -> None:
    url = f"{serve_folder(tmp_path)}/catalog.json"
    with pytest.raises(RecipeError, match=rf"^catalogue {url} does not exist; --source takes"):
        open_source(url, Collections())


def test_a_server_that_does_not_answer_is_transient() -> None:
    with pytest.raises(TransientSourceError, match="no answer"):
        open_source("http://127.0.0.1:9/catalog.json", Collections())


def test_secrets_in_an_address_stay_out_of_messages() -> None:
    with pytest.raises(TransientSourceError) as caught:
        open_source("http://127.0.0.1:9/stac?token=abc", Collections())
    assert "abc" not in str(caught.value)
    # References to files would carry it on into tables.
    with pytest.raises(RecipeError, match="--source carries a user's name or password") as refused:
        open_source("http://me:password@127.0.0.1:9/stac", Collections())
    assert "me:" not in str(refused.value)
