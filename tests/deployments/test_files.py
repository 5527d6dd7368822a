"""What lies in deployments/: every kind of file is checked by what will read it, and a typo in it is found."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.schemas import dask_problems

from pipeline.cluster import ClusterSetting, KubernetesConfig, SlurmConfig, manifest
from pipeline.cluster.slurm import job_options
from pipeline.errors import RecipeError

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deployments" / "kubernetes"
SLURM = ROOT / "deployments" / "slurm"
MANIFESTS = sorted(
    path
    for path in (*KUBERNETES.glob("base/*.yaml"), *KUBERNETES.glob("overlays/*/*.yaml"))
    if path.name not in {"kustomization.yaml", "cluster.yaml"}
)
CLUSTERS = sorted(KUBERNETES.rglob("cluster.yaml"))
KUSTOMIZATIONS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def named(path: Path) -> str:
    return path.relative_to(ROOT / "deployments").as_posix()


def check_manifest(text: str) -> None:
    for resource in yaml.safe_load_all(text):
        kubernetes_validate.validate(resource, "1.34", strict=True)


def check_kustomization(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    check_manifest(done.stdout)
    return done.stdout


def shipped(package: str, path: str) -> Any:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return yaml.safe_load((Path(spec.origin).parent / path).read_text())


def check_keys(values: Any, known: Any, where: str = "") -> None:
    """Refuse keys that the defaults do not have; a default that is empty or null takes anything."""
    if not isinstance(values, dict) or not known:
        return
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where}{key} is not known")
        check_keys(value, known[key], f"{where}{key}.")


def check_operator_values(text: str) -> None:
    check_keys(
        yaml.safe_load(text),
        shipped("dask_kubernetes", "operator/deployment/helm/dask-kubernetes-operator/values.yaml"),
    )


def check_jobqueue(text: str) -> None:
    check_keys(yaml.safe_load(text), shipped("dask_jobqueue", "jobqueue.yaml"))


def job_of(template: Any) -> dict[str, Any]:
    """Fill a work pool's job in with its defaults."""
    values = {name: field.get("default", "sample") for name, field in template["variables"]["properties"].items()}
    values |= {
        "env": [{"name": "A", "value": "b"}],
        "labels": {"a": "b"},
        "command": ["prefect", "flow-run", "execute"],
    }

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(value) for value in node]
        if isinstance(node, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", node)):
            return values[whole[1]]
        return re.sub(r"\{\{ (\w+) \}\}", lambda found: str(values[found[1]]), node) if isinstance(node, str) else node

    job: dict[str, Any] = fill(template["job_configuration"]["job_manifest"])
    return job


def check_job_template(text: str) -> None:
    kubernetes_validate.validate(job_of(json.loads(text)), "1.34", strict=True)


def config_of(kind: str, text: str, folder: Path) -> KubernetesConfig | SlurmConfig:
    path = folder / "cluster.yaml"
    path.write_text(text)
    config = ClusterSetting.from_file(kind, path).config
    assert config is not None
    return config


@pytest.mark.parametrize("path", MANIFESTS, ids=named)
def test_every_manifest_is_what_kubernetes_takes(path: Path) -> None:
    check_manifest(path.read_text())


@needs_kubectl
@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=named)
def test_every_kustomization_builds_and_is_what_kubernetes_takes(folder: Path) -> None:
    built = list(yaml.safe_load_all(check_kustomization(folder)))
    kinds = {resource["kind"] for resource in built}
    assert {"Namespace", "ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim", "NetworkPolicy"} <= kinds
    assert {resource["metadata"].get("namespace", "sen12") for resource in built} == {"sen12"}


@needs_kubectl
def test_the_pieces_name_each_other() -> None:
    built = list(yaml.safe_load_all(check_kustomization(KUBERNETES / "overlays" / "smoke")))
    held = {(resource["kind"], resource["metadata"]["name"]): resource for resource in built}
    assert ("PersistentVolumeClaim", "datasets") in held
    config = yaml.safe_load(held["ConfigMap", "sen12-cluster"]["data"]["cluster.yaml"])
    for pod in (
        held["Job", "smoke-build"]["spec"]["template"],
        job_of(json.loads((KUBERNETES / "base-job-template.json").read_text()))["spec"]["template"],
    ):
        assert ("ServiceAccount", pod["spec"]["serviceAccountName"]) in held
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "flow"
        (container,) = pod["spec"]["containers"]
        assert container["image"] == config["image"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(manifest.POD_FOLDER), *config["volumes"].values()} <= mounts
        assert pod["spec"]["securityContext"]["runAsUser"] == manifest.USER_ID
    assert ("ServiceAccount", config["service_account"]) in held
    assert set(config["volumes"]) == {"datasets"}


@pytest.mark.parametrize("path", CLUSTERS, ids=named)
def test_every_cluster_file_makes_a_cluster_that_the_operator_takes(path: Path) -> None:
    config = ClusterSetting.from_file("kubernetes", path).config
    assert isinstance(config, KubernetesConfig)
    assert dask_problems(manifest.dask_cluster("sen12-1", config, threads=1)) == []


def test_the_role_allows_what_the_code_asks_for_and_no_more() -> None:
    rules = [
        doc for doc in yaml.safe_load_all((KUBERNETES / "base" / "rbac.yaml").read_text()) if doc["kind"] == "Role"
    ]
    allowed = {(name, verb) for rule in rules[0]["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {("daskclusters", verb) for verb in ("create", "get", "delete")} | {("services", "get")}


def test_the_job_template_of_the_work_pool_is_what_kubernetes_takes() -> None:
    check_job_template((KUBERNETES / "base-job-template.json").read_text())


def test_the_slurm_files_are_what_jobqueue_takes() -> None:
    config = ClusterSetting.from_file("slurm", SLURM / "cluster.yaml").config
    assert isinstance(config, SlurmConfig)
    assert job_options(config)["walltime"] == "04:00:00"
    check_jobqueue((SLURM / "jobqueue.yaml").read_text())
    subprocess.run(["bash", "-n", SLURM / "build.sbatch"], check=True, timeout=10)


def test_helm_values_are_yaml_and_the_operators_are_known_to_its_chart() -> None:
    check_operator_values((KUBERNETES / "helm" / "values-dask-operator.yaml").read_text())
    for path in sorted((KUBERNETES / "helm").glob("values-prefect-*.yaml")):
        assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_image_is_built_from_the_lock_and_does_not_run_as_root() -> None:
    text = (ROOT / "deployments" / "Containerfile").read_text().replace("\\\n", "")
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert "pip install --require-hashes -r requirements.lock" in text
    assert f"USER {manifest.USER_ID}:{manifest.USER_ID}" in text
    (removed,) = re.findall(r"uninstall --yes (.*)", text)
    assert set(removed.split()) <= locked
    for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1])


def replaced(path: Path, right: str, wrong: str) -> str:
    text = path.read_text()
    assert right in text
    return text.replace(right, wrong, 1)


@pytest.mark.parametrize(
    ("path", "right", "wrong", "check", "error"),
    [
        ("base/namespace.yaml", "labels:", "lables:", check_manifest, kubernetes_validate.ValidationError),
        ("base/rbac.yaml", "verbs:", "verb:", check_manifest, kubernetes_validate.ValidationError),
        ("base/pvc.yaml", "accessModes:", "accessMode:", check_manifest, kubernetes_validate.ValidationError),
        ("base/networkpolicy.yaml", "policyTypes:", "policyType:", check_manifest, kubernetes_validate.ValidationError),
        ("overlays/smoke/job.yaml", "mountPath:", "mountpath:", check_manifest, kubernetes_validate.ValidationError),
        ("overlays/production/quota.yaml", "hard:", "hart:", check_manifest, kubernetes_validate.ValidationError),
        (
            "base-job-template.json",
            "volumeMounts",
            "volumeMount",
            check_job_template,
            kubernetes_validate.ValidationError,
        ),
        ("helm/values-dask-operator.yaml", "kopfArgs:", "kopfArg:", check_operator_values, ValueError),
        ("../slurm/jobqueue.yaml", "log-directory:", "log-dir:", check_jobqueue, ValueError),
    ],
)
def test_a_typo_is_found(
    path: str, right: str, wrong: str, check: Callable[[str], None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        check(replaced(KUBERNETES / path, right, wrong))


@pytest.mark.parametrize(
    ("kind", "path"),
    [("slurm", SLURM / "cluster.yaml"), *(("kubernetes", path) for path in CLUSTERS)],
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_a_typo_in_a_cluster_file_is_found(kind: str, path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"cluster\.yaml: worker: Extra inputs are not permitted; there are workers, "
    ):
        config_of(kind, replaced(path, "workers:", "worker: 1\nworkers:"), tmp_path)


@needs_kubectl
@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=named)
def test_a_typo_in_a_kustomization_is_found(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(KUBERNETES, tmp_path / "kubernetes") / folder.relative_to(KUBERNETES)
    file = copy / "kustomization.yaml"
    file.write_text(replaced(file, "generatorOptions:", "generatorOption:"))
    with pytest.raises(ValueError, match="generatorOption"):
        check_kustomization(copy)
