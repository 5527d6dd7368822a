"""How a command works: `--cluster`, `--cluster-config`, `--scheduler`, `--workers`, and `--verify`."""

import argparse
import secrets
from pathlib import Path

from pipeline.cluster import ClusterSetting
from pipeline.errors import RecipeError


def add_cluster(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the work runs."""
    command.add_argument(
        "--workers",
        type=int,
        default=0,
        help="worker processes on this machine [0: none]; with --cluster, jobs or pods",
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument("--scheduler", default="", help="address of a running Dask scheduler, tcp://host:8786")
    where.add_argument(
        "--cluster", choices=("local", "slurm", "kubernetes"), default="local", help="where workers are started [local]"
    )
    command.add_argument("--cluster-config", type=Path, metavar="FILE", help="YAML that describes the cluster")


def add_verify(command: argparse.ArgumentParser) -> None:
    """Add the option that has assets compared with their checksums."""
    command.add_argument(
        "--verify", choices=("full",),
        help="full: read every asset that is used whole, once a worker, and compare it with the checksum that its item "
        "states; wrong bytes are never used [whatever arrives in its full length is taken]",
    )  # fmt: skip


def verification(options: argparse.Namespace) -> str:
    """Return a name for this run where assets are to be compared with their checksums, or nothing."""
    return secrets.token_hex(8) if options.verify == "full" else ""


def setting_of(options: argparse.Namespace) -> ClusterSetting:
    """Return the setting that the options make.

    Raises
    ------
    RecipeError
        They contradict each other, or the configuration is missing or wrong.
    """
    if options.workers < 0:
        raise RecipeError(f"--workers {options.workers} is negative")
    if options.scheduler and options.workers:
        raise RecipeError("--scheduler brings its own workers: leave out --workers")
    if options.cluster != "local":
        if options.cluster_config is None:
            kind = options.cluster
            raise RecipeError(
                f"--cluster {kind} needs --cluster-config FILE; deployments/{kind}/ has one to start from"
            )
        return ClusterSetting.from_file(options.cluster, options.cluster_config, options.workers)
    if options.cluster_config is not None:
        raise RecipeError("--cluster-config belongs to --cluster slurm or --cluster kubernetes")
    return ClusterSetting(workers=options.workers, address=options.scheduler)
