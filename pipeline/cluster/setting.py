"""The one setting that says where work runs, and the files that describe clusters to be started."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from dask.utils import parse_bytes
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from pipeline.errors import RecipeError
from pipeline.records.model import Model

CLUSTER_PATTERN = r"^(local(:\d+)?|(kubernetes|slurm):.+|\w+://\S+)$"
"""What `ClusterSetting.parse` takes, as a regular expression."""


def _parse_memory(value: Any) -> int:
    # A number of bytes that YAML reads as an integer is text to Dask, too.
    return int(parse_bytes(str(value)))


def _known_walltime(value: str) -> str:
    if not value.replace("-", ":").replace(":", "").isdigit():
        raise ValueError(f"walltime {value!r} is not HH:MM:SS or D-HH:MM:SS")
    return value


Memory = Annotated[int, BeforeValidator(_parse_memory), Field(gt=0)]
"""Bytes; text as 8GiB or 500MB is understood."""
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""Name of a Kubernetes object."""
Folder = Annotated[str, Field(pattern=r"^/")]
"""Absolute path of a folder inside the pods."""


class ClusterConfig(Model):
    """What every cluster that is started has: a fixed number of equal workers."""

    workers: int = Field(ge=1, le=1000, description="Pods or jobs; the number is fixed.")
    cpus: int = Field(default=1, ge=1, description="Processors of a worker.")
    memory: Memory = Field(description="Memory of a worker, as 8GiB.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Files that a worker builds at the same time; null takes as many as its memory holds, "
        "at most one a processor.",
    )
    start_timeout: Seconds = Field(default=600.0, description="How long the first worker may take to come [s].")


class KubernetesConfig(ClusterConfig):
    """Pods by the Dask operator."""

    namespace: Name
    image: str = Field(min_length=1, description="Image with this package, the same release as here.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    service_account: Name | None = Field(default=None, description="Of the pods; null takes the namespace's own.")
    secrets: tuple[Name, ...] = Field(default=(), description="Secrets whose keys are environment variables.")
    secret_files: dict[Name, Folder] = Field(
        default_factory=dict, description="Secrets that are folders: name to where they are mounted."
    )
    volumes: dict[Name, Folder] = Field(
        default_factory=dict,
        description="Persistent volume claims: name to where they are mounted. The dataset lies on one.",
    )
    environment: dict[str, str] = Field(default_factory=dict, description="Environment variables; nothing secret.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes to use.")
    tls_secret: Name | None = Field(
        default=None,
        description="Secret with ca.crt, tls.crt and tls.key: scheduler, workers and client then speak TLS only.",
    )
    idle_timeout: Seconds = Field(
        default=1800.0, description="The operator removes a cluster that is idle so long [s]."
    )
    address: str = Field(
        default="{protocol}://{name}-scheduler.{namespace}.svc:8786",
        description="Where the scheduler is reached from here: protocol, name and namespace are filled in.",
    )


class SlurmConfig(ClusterConfig):
    """Jobs by dask-jobqueue; what is null here is taken from its own configuration file, jobqueue.yaml."""

    queue: str | None = Field(default=None, description="Partition.")
    account: str | None = None
    walltime: Annotated[str, AfterValidator(_known_walltime)] | None = Field(
        default=None, description="Of a job, HH:MM:SS."
    )
    interface: str | None = Field(default=None, description="Network interface of scheduler and workers, as ib0.")
    host: str | None = Field(default=None, description="Address that the scheduler listens at; instead of interface.")
    local_directory: str | None = Field(default=None, description="Scratch folder of a worker on its node.")
    log_directory: str | None = Field(default=None, description="Where the jobs' output goes.")
    python: str | None = Field(default=None, description="Python of the jobs; null takes the one that runs here.")
    prologue: tuple[str, ...] | None = Field(default=None, description="Shell lines before a worker starts.")
    directives: tuple[str, ...] | None = Field(default=None, description="More #SBATCH lines, as --qos=long.")
    tls_directory: str | None = Field(
        default=None,
        description="Folder that this node and the jobs share: scheduler and workers then speak TLS only, with keys "
        "made for this run and kept there while it lasts. Null speaks plain TCP.",
    )


CONFIGS: dict[str, type[KubernetesConfig] | type[SlurmConfig]] = {
    "kubernetes": KubernetesConfig,
    "slurm": SlurmConfig,
}

Config = TypeVar("Config", bound=ClusterConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSetting:
    """Where work runs: in this process, on worker processes of this machine, on a scheduler, or on a new cluster."""

    workers: int = 0
    """Worker processes on this machine; 0 stays in this process."""
    address: str = ""
    """Scheduler address as tcp://host:8786; wins over `workers`."""
    config: KubernetesConfig | SlurmConfig | None = None
    """Cluster to start; wins over both."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `local` (this process), `local:4` (worker processes), `slurm:FILE`, `kubernetes:FILE` or an address."""
        kind, colon, rest = text.partition(":")
        if text == "local":
            return cls()
        if kind == "local" and rest.isdigit():
            return cls(workers=int(rest))
        if colon and rest.startswith("//"):
            return cls(address=text)
        if kind in CONFIGS and rest:
            return cls.from_file(kind, Path(rest))
        raise RecipeError(
            f"cluster {text!r} is not local, local:WORKERS, kubernetes:FILE, slurm:FILE "
            "or a scheduler address as tcp://host:8786"
        )

    @classmethod
    def from_file(cls, kind: str, path: Path, workers: int = 0) -> Self:
        """Read the YAML file that describes a cluster of `kind`; `workers` other than 0 replaces its number.

        Raises
        ------
        RecipeError
            There is no such file, or it has wrong or unknown keys.
        """
        config = _read_config(CONFIGS[kind], path)
        return cls(config=config.model_copy(update={"workers": workers}) if workers else config)


def _read_config(model: type[Config], path: Path) -> Config:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise RecipeError(f"{path}: cannot be read: {getattr(err, 'strerror', None) or 'not text'}") from err
    except yaml.YAMLError as err:
        raise RecipeError(f"{path}: no YAML: {' '.join(str(err).split())}") from err
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: write keys and values, as `workers: 4`")
    try:
        return model.model_validate(content)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{path}: {where}: {first['msg']}; there are {', '.join(model.model_fields)}") from err
