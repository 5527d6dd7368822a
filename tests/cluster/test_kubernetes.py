"""Pods by the Dask operator, against a stand-in of the API server that runs the containers' commands as processes."""

import operator
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Security
from support.kube import ApiServer, api_server
from support.orders import Order, shard_digests
from support.schemas import dask_problems

from pipeline.cluster import ClusterSetting, KubernetesConfig, manifest, open_runner
from pipeline.cluster import kubernetes as module
from pipeline.errors import PipelineError, RecipeError

TLS = "dask-tls"

pytest_plugins = ["support.fixtures"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.1)
    with api_server(tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        yield server


def setting(api: ApiServer, **changes: object) -> ClusterSetting:
    values = {
        "namespace": "sen12",
        "image": "sen12-pipeline:0.1.0",
        "workers": 2,
        "memory": "2GiB",
        "start_timeout": 60,
        "address": f"{{protocol}}://127.0.0.1:{api.scheduler_port}",
    }
    return ClusterSetting(config=KubernetesConfig.model_validate({**values, **changes}))


def verbs(api: ApiServer) -> list[str]:
    return [verb for verb, path in api.log if "daskclusters" in path]


def test_a_cluster_is_created_used_and_deleted(api: ApiServer) -> None:
    with open_runner(setting(api)) as runner:
        assert sorted(runner.run(operator.neg, range(9), threads=1)) == list(range(-8, 1))
        (cluster,) = api.clusters.values()
        assert cluster["spec"]["worker"]["replicas"] == 2
        assert cluster["spec"]["idleTimeout"] == 1800
    assert api.clusters == {}
    assert verbs(api) == ["POST", "DELETE"]


def test_an_error_of_the_work_deletes_the_cluster_and_comes_through(api: ApiServer) -> None:
    with pytest.raises(ZeroDivisionError), open_runner(setting(api)):
        raise ZeroDivisionError
    assert api.clusters == {}


@pytest.mark.slow
def test_pods_build_the_same_bytes(api: ApiServer, small_order: Order, small_dataset: Path, tmp_path: Path) -> None:
    config = setting(api).config
    assert config is not None
    path = tmp_path / "cluster.yaml"
    path.write_text(config.model_dump_json())
    small_order.build(tmp_path / "dataset", "--cluster", "kubernetes", "--cluster-config", str(path))
    assert shard_digests(tmp_path / "dataset") == shard_digests(small_dataset)
    assert api.clusters == {}


@pytest.mark.slow
def test_tls_is_spoken_between_client_scheduler_and_workers(api: ApiServer, monkeypatch) -> None:
    folder = api.folder / "tls"
    folder.mkdir()
    made = Security.temporary()
    for name, content in (
        ("ca.crt", made.tls_ca_file),
        ("tls.crt", made.tls_client_cert),
        ("tls.key", made.tls_client_key),
    ):
        (folder / name).write_text(content)
    keys = {"cert": str(folder / "tls.crt"), "key": str(folder / "tls.key")}
    mine = {"distributed.comm.tls.ca-file": str(folder / "ca.crt"), "distributed.comm.require-encryption": True}
    mine |= {f"distributed.comm.tls.client.{name}": path for name, path in keys.items()}
    with dask.config.set(mine), open_runner(setting(api, tls_secret=TLS)) as runner:
        assert runner.client.scheduler.address.startswith("tls://")
        assert sorted(runner.run(operator.neg, range(3), threads=1)) == [-2, -1, 0]
    assert api.clusters == {}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"forbidden": ("sen12",)},
            r"^no leave to create a Dask cluster in the namespace sen12 \(.*forbidden.*rbac.yaml",
        ),
        (
            {"has_operator_resources": False},
            r"^this Kubernetes knows no DaskCluster: install the Dask operator, `helm ",
        ),
        ({"shows_services": False}, r"^no leave to get a Dask cluster in the namespace sen12 \(services .*forbidden"),
        ({"namespaces": ()}, r"^there is no namespace sen12: `kubectl create namespace sen12`$"),
    ],
    ids=["forbidden", "no operator resources", "no leave to look", "no namespace"],
)
def test_what_the_api_server_refuses_gives_one_line(api: ApiServer, change: dict[str, object], line: str) -> None:
    for name, value in change.items():
        setattr(api, name, value)
    with pytest.raises(RecipeError, match=line) as caught, open_runner(setting(api)):
        pytest.fail("there is no cluster")
    assert "\n" not in str(caught.value)


def test_an_operator_that_does_not_run_gives_one_line_and_leaves_nothing(api: ApiServer) -> None:
    api.operator_runs = False
    line = r"^the operator made no scheduler for DaskCluster sen12-\w+ within 1 s; does it run\? See `kubectl"
    with pytest.raises(PipelineError, match=line), open_runner(setting(api, start_timeout=1)):
        pytest.fail("there is no cluster")
    assert api.clusters == {}


def test_an_api_server_that_does_not_answer_gives_one_line(api: ApiServer, tmp_path, monkeypatch) -> None:
    api.port = 9
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig.rename(tmp_path / "other")))
    with pytest.raises(RecipeError, match=r"^the Kubernetes API server does not answer \("), open_runner(setting(api)):
        pytest.fail("there is no cluster")


def test_without_credentials_there_is_one_line(api: ApiServer, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing-here"))
    with pytest.raises(RecipeError, match=r"^no usable Kubernetes credentials \("), open_runner(setting(api)):
        pytest.fail("there is no cluster")


def test_pods_too_small_for_a_file_are_refused_before_anything_is_created(api: ApiServer) -> None:
    with (
        pytest.raises(RecipeError, match=r"^a worker has 1\.1 GB of memory and needs 3\.0 GB"),
        open_runner(setting(api, memory="1GiB"), needs=2_000_000_000),
    ):
        pytest.fail("there is no cluster")
    assert api.log == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_is_stopped_deletes_its_cluster(api: ApiServer, tmp_path: Path, number: int) -> None:
    config = setting(api).config
    assert config is not None
    path = tmp_path / "cluster.yaml"
    path.write_text(config.model_dump_json())
    script = (
        "import time\n"
        "from pipeline.cluster import ClusterSetting, open_runner\n"
        f"with open_runner(ClusterSetting.parse('kubernetes:{path}')):\n"
        "    print('open', flush=True)\n"
        "    time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        assert len(api.clusters) == 1
        process.send_signal(number)
        process.wait(30)
    finally:
        process.kill()
        process.wait(10)
    assert api.clusters == {}


def config(**values: object) -> KubernetesConfig:
    least = {"namespace": "sen12", "image": "sen12-pipeline:0.1.0", "workers": 3, "memory": "4GiB"}
    return KubernetesConfig.model_validate({**least, **values})


EVERYTHING = {
    "cpus": 2,
    "service_account": "dask",
    "secrets": ["provider"],
    "secret_files": {"earth-engine": "/etc/earth-engine"},
    "volumes": {"datasets": "/data"},
    "environment": {"GDAL_CACHEMAX": "64"},
    "node_selector": {"pool": "batch"},
    "tls_secret": TLS,
}


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["least", "everything"])
def test_the_manifest_is_what_the_operators_schema_takes(values: dict[str, object]) -> None:
    made = manifest.dask_cluster("sen12-1", config(**values), threads=2)
    assert dask_problems(made) == []
    made["spec"]["worker"]["spec"]["containers"][0]["imagePullPolicey"] = "Always"
    assert dask_problems(made) == [
        "spec.worker.spec.containers.0: Additional properties are not allowed ('imagePullPolicey' was unexpected)"
    ]


def test_pods_are_neither_root_nor_privileged_and_have_limits() -> None:
    spec = manifest.dask_cluster("sen12-1", config(**EVERYTHING), threads=2)["spec"]
    for pod in (spec["scheduler"]["spec"], spec["worker"]["spec"]):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["envFrom"] == [{"secretRef": {"name": "provider"}}]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts > {"/etc/earth-engine", "/etc/dask-tls", "/data"}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    worker = spec["worker"]["spec"]["containers"][0]
    assert worker["resources"]["limits"] == {"cpu": "2", "memory": str(4 * 2**30)}
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "2"
    assert worker["args"][worker["args"].index("--memory-limit") + 1] == str(4 * 2**30)


def test_a_cluster_belongs_to_the_pod_that_made_it(tmp_path: Path) -> None:
    assert manifest.owner_of_pod(tmp_path) is None
    (tmp_path / "name").write_text("flow-1\n")
    (tmp_path / "uid").write_text("4c1a")
    made = manifest.dask_cluster("sen12-1", config(), threads=1, owner=manifest.owner_of_pod(tmp_path))
    assert made["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "flow-1", "uid": "4c1a"}]


def test_the_scheduler_is_reached_at_its_service() -> None:
    assert manifest.scheduler_address("sen12-1", config()) == "tcp://sen12-1-scheduler.sen12.svc:8786"
    secure = config(tls_secret=TLS)
    assert manifest.scheduler_address("sen12-1", secure) == "tls://sen12-1-scheduler.sen12.svc:8786"
