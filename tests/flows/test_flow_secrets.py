"""No token of a run, and no credential of a URL, in what a run says, shows, logs or leaves behind."""

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from obstore.exceptions import GenericError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate
from support.fault_server import FaultServer, Script, Tokens, fault_server
from support.flows import parameters
from support.object_stores import copy_of
from support.orders import Order

from flows.build_dataset import build_dataset
from flows.plan_dataset import plan_dataset
from pipeline import sources
from pipeline.cli import main
from pipeline.errors import TransientSourceError
from pipeline.sources import governor, transport, window
from pipeline.sources.providers import Provider
from pipeline.sources.signing import TokenSignature, forget_tokens
from pipeline.stores import explained

pytest_plugins = ["support.fixtures", "support.bucket"]


@pytest.fixture
def files(small_order: Order, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A provider by name, loopback, whose files need tokens."""
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.01)
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY", 1)
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(governor, "THROTTLED_PAUSE_SECONDS", 0.01)
    forget_tokens()
    with fault_server(small_order.catalogue.parent) as made:
        made.tokens = Tokens(life=0.3)
        signature = TokenSignature(service=f"{made.base}/token", hosts="127.0.0.1")
        provider = Provider(url=made.api, signature=signature)
        monkeypatch.setattr(sources, "PROVIDERS", {**sources.PROVIDERS, "loopback": provider})
        yield made


def contents(file: Path) -> Iterator[str]:
    """Everything that a file says, unpacked."""
    yield file.read_bytes().decode("latin-1")
    if file.suffix == ".parquet":
        yield str(pq.read_table(file).to_pylist())
    elif file.name == "lock.zip":
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                data = archive.read(name)
                yield data.decode("latin-1")
                if name.endswith(".parquet"):
                    yield str(pq.read_table(io.BytesIO(data)).to_pylist())


def test_a_token_is_in_nothing_that_a_run_says_shows_logs_or_leaves_at_a_store(
    files: FaultServer, url: str, small_order: Order, tmp_path: Path, artifacts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    given = {**parameters(small_order, url), "source": "loopback"}
    files.tokens.life = 600.0
    planned = plan_dataset.fn(**given)
    assert planned.is_completed(), planned.message
    forget_tokens()
    files.tokens.life = 0.3
    files.reset(Script(seed=5, share=0.5, most=6, faults=("forbidden", "unavailable", "truncated"), only=r"\.tif$"))
    failed = build_dataset.fn(**given)
    assert failed.is_failed()
    assert "could not be read now" in failed.message
    noted = copy_of(url, tmp_path / "unfinished")
    assert list(noted.rglob("*.attempts"))
    files.reset(Script())
    files.tokens.life = 600.0
    done = build_dataset.fn(**given)
    assert done.is_completed(), done.message
    assert main(["lock", url]) == 0
    copy = copy_of(url, tmp_path / "copy")
    assert (copy / "lock.zip").is_file()
    told = [failed.message, done.message, *artifacts, caplog.text]
    told += [text for root in (noted, copy) for file in root.rglob("*") if file.is_file() for text in contents(file)]
    assert files.tokens.given > 1
    for secret in (files.tokens.mark, "a-very-secret-key"):
        assert [text[:200] for text in told if secret in text] == []
    logs = "".join([*told[:2], caplog.text])
    assert "sig=" not in logs


@pytest.mark.parametrize(
    "wrong",
    [
        {"out": "s3://key:secret@bucket/x"},
        {"out": "az://container/x?sig=secret"},
        {"out": "http://host/x"},
        {"out": "data", "source": "https://user:secret@host/catalog.json"},
    ],
    ids=str,
)
@pytest.mark.parametrize("flow", [build_dataset, plan_dataset], ids=lambda flow: flow.name)
def test_parameters_which_the_server_keeps_carry_no_credentials(flow, wrong: dict[str, str]) -> None:
    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    with pytest.raises(ValidationError, match=r"does not match|is not valid"):
        validate({"out": "data", **wrong}, schema, raise_on_error=True)


@pytest.mark.parametrize(
    "right",
    [
        {"out": "s3://bucket/x"},
        {"out": "file:///data/x"},
        {"out": "/data/a:b"},
        {"out": "data", "source": "https://host:8080/catalog.json?page=a@b"},
        {"out": "data", "source": "planetary-computer"},
        {"out": "data", "source": "/data/catalog.json"},
        {"out": "data", "source": None},
    ],
    ids=str,
)
def test_other_places_and_sources_pass(right: dict[str, str]) -> None:
    validate(right, parameter_schema(build_dataset.fn).model_dump_for_openapi(), raise_on_error=True)


@pytest.mark.parametrize(
    "words",
    [
        ["status", "s3://key:secret@bucket/x"],
        ["validate", "s3://bucket/x?token=secret"],
        ["stats", "s3://key:secret@bucket/x"],
        ["stats", "s3://bucket/x?token=secret"],
        ["lock", "az://container/x?sig=secret"],
        ["build", "landslides", "--places", "x.csv", "--source", "https://me:secret@host/catalog.json", "--out", "x"],
        ["build", "landslides", "--places", "x.csv", "--source", "y", "--out", "s3://key:secret@bucket/x"],
    ],
    ids=" ".join,
)
def test_credentials_in_a_url_are_refused_and_not_repeated(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("id,lon,lat\na,14,46\n")
    assert main(words) == 2
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
    assert list(tmp_path.iterdir()) == [tmp_path / "x.csv"]


def test_the_signature_of_a_store_is_in_no_message() -> None:
    """Azure has it in the URL of every request."""
    problem = "Error performing PUT https://me:secret@account.example.org/x?sv=2024&sig=secret in 1s"
    with pytest.raises(TransientSourceError) as caught, explained("az://container", what="x", again="again"):
        raise GenericError(problem)
    assert str(caught.value) == (
        "az://container does not answer (x): Error performing PUT https://account.example.org/x in 1s; again"
    )
