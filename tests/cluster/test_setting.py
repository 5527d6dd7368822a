"""The one setting: words, files and the command line's options."""

from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.cluster import ClusterSetting, KubernetesConfig, SlurmConfig
from pipeline.errors import RecipeError

SLURM = "workers: 3\nmemory: 8GiB\nqueue: long\nwalltime: 1-00:00:00\n"
KUBERNETES = "workers: 2\nmemory: 4000MB\nnamespace: sen12\nimage: sen12:1\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_a_word_may_name_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, SLURM)
    setting = ClusterSetting.parse(f"slurm:{path}")
    assert setting == ClusterSetting.from_file("slurm", path)
    assert isinstance(setting.config, SlurmConfig)
    assert (setting.config.workers, setting.config.memory, setting.config.queue) == (3, 8 * 2**30, "long")
    kubernetes = ClusterSetting.parse(f"kubernetes:{write(tmp_path, KUBERNETES)}").config
    assert isinstance(kubernetes, KubernetesConfig)
    assert kubernetes.memory == 4_000_000_000


def test_the_number_of_workers_may_be_given_beside_the_file(tmp_path: Path) -> None:
    config = ClusterSetting.from_file("slurm", write(tmp_path, SLURM), workers=7).config
    assert config is not None
    assert config.workers == 7


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SLURM + "que: long", r"que: Extra inputs are not permitted; there are workers, cpus, memory"),
        (SLURM.replace("8GiB", "lots"), r"memory: Value error, Could not interpret 'lots' as a byte unit"),
        (SLURM.replace("8GiB", "-1GiB"), r"memory: Input should be greater than 0"),
        (SLURM.replace("workers: 3", "workers: 0"), r"workers: Input should be greater than or equal to 1"),
        (SLURM.replace("1-00:00:00", "a day"), r"walltime: Value error, walltime 'a day' is not HH:MM:SS"),
        ("- workers", r"write keys and values, as `workers: 4`"),
        ("workers: [", r"no YAML: while parsing"),
        ("queue: long", r"workers: Field required"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecipeError, match=rf"^{path}: {line}") as caught:
        ClusterSetting.from_file("slurm", path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nothing\.yaml: cannot be read: No such file or directory$"):
        ClusterSetting.parse(f"kubernetes:{tmp_path}/nothing.yaml")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--cluster", "slurm"),
            "--cluster slurm needs --cluster-config FILE; deployments/slurm/ has one to start from",
        ),
        (("--cluster-config", "x.yaml"), "--cluster-config belongs to --cluster slurm or --cluster kubernetes"),
        (("--scheduler", "tcp://a:1", "--workers", "2"), "--scheduler brings its own workers: leave out --workers"),
        (("--workers", "-1"), "--workers -1 is negative"),
    ],
)
def test_options_that_contradict_each_other_give_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], line: str
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), *options]) == 2
    assert capsys.readouterr().err == f"sen12: error: {line}\n"
