"""Running plain functions on this machine or on Dask, bounded in flight; the only package that imports Dask.

A cluster is whatever gives an address of a Dask scheduler: processes of this machine, a scheduler that runs already,
pods on Kubernetes, jobs under SLURM. Each has one context manager, which takes down on leaving what it started.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from types import ModuleType

from pipeline.cluster.connect import open_client
from pipeline.cluster.needs import worker_bound, worker_needs
from pipeline.cluster.processes import check_memory, start_processes
from pipeline.cluster.runners import DaskRunner, LocalRunner, Progress, Runner, limited
from pipeline.cluster.setting import CLUSTER_PATTERN, ClusterSetting, KubernetesConfig, SlurmConfig
from pipeline.errors import RecipeError

__all__ = [
    "CLUSTER_PATTERN",
    "ClusterSetting",
    "DaskRunner",
    "KubernetesConfig",
    "LocalRunner",
    "Progress",
    "Runner",
    "SlurmConfig",
    "limited",
    "open_cluster",
    "open_runner",
    "worker_bound",
    "worker_needs",
]


@contextmanager
def open_runner(setting: ClusterSetting, *, needs: int = 0) -> Iterator[Runner]:
    """Yield the runner for `setting` and take down on leaving what was started.

    Parameters
    ----------
    setting
        Where the work runs.
    needs
        What one item takes while it is worked on [bytes], as `worker_needs` gives it; 0 asks nothing of the workers.

    Raises
    ------
    RecipeError
        The cluster cannot be had, runs other versions, or workers or this machine have less memory than an item needs.
    PipelineError
        No worker came in time.
    """
    with open_cluster(setting, needs=needs) as opened:
        if not opened.address:
            check_memory(needs)
            yield LocalRunner()
            return
        with open_client(opened.address, needs=needs) as client:
            yield DaskRunner(client)


@contextmanager
def open_cluster(setting: ClusterSetting, *, needs: int = 0) -> Iterator[ClusterSetting]:
    """Start what `setting` asks for, yield the setting that merely connects to it, and take it down on leaving.

    Several stages can share one cluster that way. On SIGTERM it is taken down, too, if nobody else handles that signal.
    """
    with _interrupted_by_sigterm(), _start(setting, needs) as address:
        yield replace(setting, workers=0, config=None, address=address)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, unless somebody else handles it or this is not the main thread."""
    is_free = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_free:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _start(setting: ClusterSetting, needs: int) -> AbstractContextManager[str]:
    started: AbstractContextManager[str] = nullcontext(setting.address)
    match setting:
        case ClusterSetting(config=KubernetesConfig() as config):
            started = _starter("kubernetes", "kr8s").start_kubernetes(config, needs=needs)
        case ClusterSetting(config=SlurmConfig() as config):
            started = _starter("slurm", "dask_jobqueue").start_slurm(config, needs=needs)
        case ClusterSetting(address="", workers=workers) if workers:
            started = start_processes(workers, needs=needs)
    return started


def _starter(kind: str, package: str) -> ModuleType:
    try:
        import_module(package)
    except ModuleNotFoundError as err:
        raise RecipeError(f"{kind} needs the package {package}: pip install 'sen12-pipeline[{kind}]'") from err
    return import_module(f"pipeline.cluster.{kind}")
