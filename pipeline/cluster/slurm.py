"""Jobs under SLURM by dask-jobqueue; the scheduler runs in this process, a worker is a job."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster
from distributed import Security

from pipeline.cluster.connect import wait_for_worker
from pipeline.cluster.needs import check_threads, fitting_threads
from pipeline.cluster.setting import SlurmConfig
from pipeline.errors import PipelineError, RecipeError


@contextmanager
def start_slurm(config: SlurmConfig, *, needs: int = 0) -> Iterator[str]:
    """Yield the address of a new cluster's scheduler once the first job runs; jobs are cancelled on leaving.

    Parameters
    ----------
    config
        How many jobs, how large and where.
    needs
        Memory that one item takes [bytes].

    Raises
    ------
    RecipeError
        SLURM is not here or refuses the job, or a job is too small.
    PipelineError
        No job started in time.
    """
    if shutil.which("sbatch") is None:
        raise RecipeError("there is no sbatch on this machine: run this on a login node of the SLURM cluster")
    with ExitStack() as stack:
        options = job_options(config, needs)
        if config.tls_directory is not None:
            options["security"] = stack.enter_context(_keys(Path(config.tls_directory)))
        address = stack.enter_context(_jobs(config, options))
        problem = (
            f"no job started within {config.start_timeout:.0f} s; `squeue --me` says what they wait for: ask for less, "
            "or raise start_timeout"
        )
        wait_for_worker(address, seconds=config.start_timeout, problem=problem)
        yield address


def job_options(config: SlurmConfig, needs: int = 0) -> dict[str, Any]:
    """Return what `SLURMCluster` is called with; raises RecipeError when a job is too small for an item."""
    threads = config.threads or fitting_threads(needs, memory=config.memory, at_most=config.cpus)
    if needs:
        check_threads(needs, memory=config.memory, threads=threads)
    options: dict[str, Any] = {
        "cores": threads,
        "job_cpu": config.cpus,
        "memory": f"{config.memory}B",
        "processes": 1,
        "queue": config.queue,
        "account": config.account,
        "walltime": config.walltime,
        "interface": config.interface,
        "local_directory": config.local_directory,
        "log_directory": config.log_directory,
        "python": config.python,
        "job_script_prologue": None if config.prologue is None else list(config.prologue),
        "job_extra_directives": None if config.directives is None else list(config.directives),
        "scheduler_options": {"dashboard_address": ":0", **({"host": config.host} if config.host else {})},
    }
    return {key: value for key, value in options.items() if value is not None}


@contextmanager
def _jobs(config: SlurmConfig, options: dict[str, Any]) -> Iterator[str]:
    try:
        cluster = SLURMCluster(**options)
    except (OSError, ValueError, RuntimeError) as err:
        raise RecipeError(f"the scheduler of the SLURM cluster does not start: {' '.join(str(err).split())}") from err
    try:
        _submit(cluster, config.workers)
        yield str(cluster.scheduler_address)
    finally:
        # Having cancelled the jobs and closed the scheduler, it insists that no job was refused.
        with suppress(AssertionError):
            cluster.close()


def _submit(cluster: SLURMCluster, workers: int) -> None:
    # What `scale` does, but it leaves a refused job to a log.
    while len(cluster.worker_spec) < workers:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        cluster.sync(cluster._correct_state)
    except (RuntimeError, OSError) as err:
        raise PipelineError(_refusal(err)) from err


def _refusal(err: Exception) -> str:
    """Return what sbatch said: the last line that is not empty."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return f"SLURM refused the job: {lines[-1] if lines else type(err).__name__}; see `sinfo` for partitions and limits"


@contextmanager
def _keys(shared: Path) -> Iterator[Security]:
    """Make a key and a certificate for this run in a folder of their own below `shared`, and tell clients of them."""
    if not shared.is_dir():
        raise RecipeError(f"tls_directory {shared} is no folder; name one that this node and the jobs share")
    made = Security.temporary()
    with tempfile.TemporaryDirectory(prefix=".sen12-tls-", dir=shared.absolute()) as name:
        certificate, key = Path(name, "tls.crt"), Path(name, "tls.key")
        certificate.write_text(made.tls_scheduler_cert, encoding="ascii")
        key.touch(mode=0o600)
        key.write_text(made.tls_scheduler_key, encoding="ascii")
        settings: dict[str, Any] = {"require-encryption": True, "tls.ca-file": str(certificate)}
        for role in ("scheduler", "worker", "client"):
            settings |= {f"tls.{role}.cert": str(certificate), f"tls.{role}.key": str(key)}
        with dask.config.set({f"distributed.comm.{name}": value for name, value in settings.items()}):
            yield Security()
