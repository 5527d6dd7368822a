"""What the Dask operator is asked for: the custom resource DaskCluster; pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cluster.setting import KubernetesConfig

API_VERSION = "kubernetes.dask.org/v1"
TLS_FOLDER = "/etc/dask-tls"
"""Where the TLS secret is mounted in scheduler and workers, and in the pod that connects to them."""
POD_FOLDER = Path("/etc/podinfo")
"""Where a pod finds its own name and uid, if its manifest mounts them (downward API)."""
USER_ID = 10001
"""User and group of the image."""
SCHEDULER_MEMORY = "2Gi"
"""For a few thousand items in flight and their reports."""
PORTS = {"tcp-comm": 8786, "http-dashboard": 8787}

_HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def dask_cluster(
    name: str, config: KubernetesConfig, *, threads: int, owner: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the DaskCluster `name` as the API takes it.

    Parameters
    ----------
    name
        Name of the resource; the operator calls the scheduler's service `name`-scheduler.
    config
        Image, sizes, secrets and volumes.
    threads
        Threads of a worker.
    owner
        Owner reference: when its pod goes, Kubernetes removes the cluster.
    """
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": config.namespace,
        "labels": {"app.kubernetes.io/name": "sen12", "app.kubernetes.io/component": "dask-cluster"},
    }
    if owner is not None:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": API_VERSION,
        "kind": "DaskCluster",
        "metadata": metadata,
        "spec": {
            "idleTimeout": round(config.idle_timeout),
            "scheduler": {"spec": _scheduler_pod(name, config), "service": _service(name)},
            "worker": {"replicas": config.workers, "spec": _worker_pod(name, config, threads)},
        },
    }


def scheduler_address(name: str, config: KubernetesConfig) -> str:
    """Return where the scheduler of the cluster `name` is reached from here."""
    return config.address.format(protocol=_protocol(config), name=name, namespace=config.namespace)


def owner_of_pod(folder: Path = POD_FOLDER) -> dict[str, Any] | None:
    """Return the owner reference of the pod this runs in, from files `name` and `uid`; None outside of such a pod."""
    if not (folder / "name").is_file() or not (folder / "uid").is_file():
        return None
    name, uid = ((folder / part).read_text(encoding="ascii").strip() for part in ("name", "uid"))
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}


def _protocol(config: KubernetesConfig) -> str:
    return "tls" if config.tls_secret else "tcp"


def _scheduler_pod(name: str, config: KubernetesConfig) -> dict[str, Any]:
    container = _container(name, config) | {
        "name": "scheduler",
        "args": ["dask", "scheduler", "--protocol", f"{_protocol(config)}://", "--host", "0.0.0.0"],  # noqa: S104
        "resources": _resources(cpus=1, memory=SCHEDULER_MEMORY),
        "ports": [{"name": key, "containerPort": port, "protocol": "TCP"} for key, port in PORTS.items()],
        # Kept plain in TLS clusters: the dashboard has no certificates.
        "readinessProbe": _probe(periodSeconds=5),
        "livenessProbe": _probe(initialDelaySeconds=15, periodSeconds=20),
    }
    return _pod(config, container)


def _worker_pod(name: str, config: KubernetesConfig, threads: int) -> dict[str, Any]:
    memory = str(config.memory)
    limits = ["--nthreads", str(threads), "--memory-limit", memory, "--local-directory", "/tmp"]  # noqa: S108
    container = _container(name, config) | {
        "name": "worker",
        "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--no-dashboard", *limits],
        "resources": _resources(cpus=config.cpus, memory=memory),
    }
    return _pod(config, container)


def _container(name: str, config: KubernetesConfig) -> dict[str, Any]:
    values = {**config.environment, **(_tls_environment(name, config) if config.tls_secret else {})}
    container: dict[str, Any] = {
        "image": config.image,
        "imagePullPolicy": config.image_pull_policy,
        "env": [{"name": key, "value": value} for key, value in sorted(values.items())],
        "securityContext": _HARDENED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *_mounts(config)],  # noqa: S108
    }
    if config.secrets:
        container["envFrom"] = [{"secretRef": {"name": secret}} for secret in config.secrets]
    return container


def _tls_environment(name: str, config: KubernetesConfig) -> dict[str, str]:
    """Return Dask's settings for TLS, and the address that the operator would give workers as tcp://."""
    prefix = "DASK_DISTRIBUTED__COMM"
    roles = {
        f"{prefix}__TLS__{role}__{part}": f"{TLS_FOLDER}/tls.{suffix}"
        for role in ("SCHEDULER", "WORKER", "CLIENT")
        for part, suffix in (("CERT", "crt"), ("KEY", "key"))
    }
    return {
        **roles,
        f"{prefix}__REQUIRE_ENCRYPTION": "true",
        f"{prefix}__TLS__CA_FILE": f"{TLS_FOLDER}/ca.crt",
        "DASK_SCHEDULER_ADDRESS": f"tls://{name}-scheduler.{config.namespace}.svc:{PORTS['tcp-comm']}",
    }


def _secret_folders(config: KubernetesConfig) -> dict[str, str]:
    return {**config.secret_files, **({config.tls_secret: TLS_FOLDER} if config.tls_secret else {})}


def _mounts(config: KubernetesConfig) -> list[dict[str, Any]]:
    secrets = [
        {"name": f"secret-{number}", "mountPath": folder, "readOnly": True}
        for number, folder in enumerate(_secret_folders(config).values())
    ]
    claims = [{"name": f"claim-{number}", "mountPath": folder} for number, folder in enumerate(config.volumes.values())]
    return [*secrets, *claims]


def _volumes(config: KubernetesConfig) -> list[dict[str, Any]]:
    secrets = [
        {"name": f"secret-{number}", "secret": {"secretName": name, "defaultMode": 0o440}}
        for number, name in enumerate(_secret_folders(config))
    ]
    claims = [
        {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": name}}
        for number, name in enumerate(config.volumes)
    ]
    return [{"name": "tmp", "emptyDir": {}}, *secrets, *claims]


def _pod(config: KubernetesConfig, container: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": [container],
        "volumes": _volumes(config),
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if config.service_account:
        pod["serviceAccountName"] = config.service_account
    if config.node_selector:
        pod["nodeSelector"] = dict(config.node_selector)
    return pod


def _resources(*, cpus: int, memory: str) -> dict[str, Any]:
    sizes = {"cpu": str(cpus), "memory": memory}
    return {"requests": sizes, "limits": dict(sizes)}


def _probe(**times: int) -> dict[str, Any]:
    return {"httpGet": {"port": "http-dashboard", "path": "/health"}, **times}


def _service(name: str) -> dict[str, Any]:
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": key, "protocol": "TCP", "port": port, "targetPort": key} for key, port in PORTS.items()],
    }
