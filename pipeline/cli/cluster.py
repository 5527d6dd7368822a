"""Where the work of a command runs: `--cluster`, `--cluster-config`, `--scheduler`, `--workers`."""

import argparse
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
