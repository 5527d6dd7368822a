"""Connecting to a Dask scheduler that runs, and refusing one that would fail later or give other bytes."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from distributed import Client
from distributed.comm.addressing import get_address_host_port

from pipeline.cluster.needs import check_threads
from pipeline.errors import PipelineError, RecipeError

CONNECT_SECONDS = 30.0
"""How long a scheduler may take to answer, and its first worker to come."""

SAME_PACKAGES = ("dask", "distributed", "cloudpickle", "sen12-pipeline", "numpy", "numcodecs", "zarr")
"""Whose versions must be the same everywhere: what carries the work, and what decides the bytes of a file."""


@contextmanager
def open_client(address: str, *, needs: int = 0) -> Iterator[Client]:
    """Yield a client of the scheduler at `address`, which has a worker, the same versions and the memory needed.

    Parameters
    ----------
    address
        As tcp://host:8786 or, with Dask's own TLS settings in place, tls://host:8786.
    needs
        Memory that one item takes [bytes]; 0 asks nothing.

    Raises
    ------
    RecipeError
        Nobody answers, versions differ, or a worker has too little memory.
    PipelineError
        There is no worker.
    """
    with _client(address, CONNECT_SECONDS) as client:
        problem = f"the Dask scheduler at {address} has no workers; start some with `dask worker`"
        _wait_for_worker(client, CONNECT_SECONDS, problem)
        _check_versions(client, address)
        if needs:
            for worker in client.scheduler_info()["workers"].values():
                if worker["memory_limit"]:
                    check_threads(needs, memory=worker["memory_limit"], threads=worker["nthreads"])
        yield client


def wait_for_worker(address: str, *, seconds: float, problem: str) -> None:
    """Return when the scheduler at `address` has a worker; raises PipelineError with `problem` if it gets none."""
    end = time.monotonic() + seconds
    try:
        # A scheduler that is asked for may take as long to come as a worker: its image is pulled, its node is started.
        with _client(address, seconds) as client:
            _wait_for_worker(client, max(1.0, end - time.monotonic()), problem)
    except RecipeError as err:
        raise PipelineError(problem) from err


@contextmanager
def _client(address: str, seconds: float) -> Iterator[Client]:
    try:
        # A client that is given a malformed address blocks the interpreter's exit.
        get_address_host_port(address)
        client = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TypeError) as err:
        raise RecipeError(f"no Dask scheduler answers at {address}; {_advice(address)}") from err
    with _own_words(), closing(client):
        yield client


@contextmanager
def _own_words() -> Iterator[None]:
    """Keep the client from logging tracebacks of what its caller says in one line, such as a lost scheduler."""
    logger = logging.getLogger("distributed.client")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _advice(address: str) -> str:
    if address.startswith("tls:"):
        return "start one with `dask scheduler`, and set its certificates under distributed.comm.tls on both sides"
    return "start one with `dask scheduler`"


def _wait_for_worker(client: Client, seconds: float, problem: str) -> None:
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as err:
        raise PipelineError(problem) from err


def _check_versions(client: Client, address: str) -> None:
    versions: Any = client.get_versions(packages=SAME_PACKAGES)
    others = {"scheduler": versions["scheduler"], **dict(sorted(versions["workers"].items()))}
    problem = version_problem(
        _versions_of(versions["client"]), {name: _versions_of(held) for name, held in others.items()}
    )
    if problem:
        raise RecipeError(
            f"the Dask cluster at {address} runs other versions than this program ({problem}): "
            "install the same release of this package and its requirements.lock on both sides"
        )


def _versions_of(answer: Any) -> dict[str, str]:
    if not isinstance(answer, Mapping):
        return {}
    packages = answer["packages"]
    python = ".".join(str(packages["python"]).split(".")[:2])
    return {"python": python, **{name: str(packages.get(name) or "none") for name in SAME_PACKAGES}}


def version_problem(here: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> str:
    """Return what the first process that differs has of which package, or an empty string.

    Parameters
    ----------
    here
        Version of each package in this process.
    others
        The same of scheduler and workers; what is empty did not answer and is passed over.
    """
    for name, held in others.items():
        differing = [package for package in here if held and held.get(package) != here[package]]
        if differing:
            what = ", ".join(f"{package} {held.get(package)}, here {here[package]}" for package in differing)
            return f"{'scheduler' if name == 'scheduler' else f'worker {name}'}: {what}"
    return ""
