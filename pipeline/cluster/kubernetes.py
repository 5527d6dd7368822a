"""Pods by the Dask operator: the custom resource is created, waited for and always deleted, without `KubeCluster`.

`KubeCluster` waits for a phase of the resource that can stay "Pending" while everything runs (dask-kubernetes, number
968); the scheduler that answers is what counts here.
"""

import json
import logging
import os
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import kr8s
from kr8s.objects import APIObject, Service, new_class

from pipeline.cluster.connect import wait_for_worker
from pipeline.cluster.manifest import API_VERSION, dask_cluster, owner_of_pod, scheduler_address
from pipeline.cluster.needs import check_threads, fitting_threads
from pipeline.cluster.setting import KubernetesConfig
from pipeline.errors import PipelineError, RecipeError

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
API_SECONDS = 30.0
"""How long the API server may take for an answer."""

_DaskCluster = new_class("DaskCluster", API_VERSION, asyncio=False)


@contextmanager
def start_kubernetes(config: KubernetesConfig, *, needs: int = 0) -> Iterator[str]:
    """Yield the address of a new cluster's scheduler once a worker is there, and delete the cluster on leaving.

    The cluster also goes when the pod this runs in is removed, or after `config.idle_timeout` without work.

    Parameters
    ----------
    config
        Where, how many and how large.
    needs
        Memory that one item takes [bytes].

    Raises
    ------
    RecipeError
        No API server or credentials, no rights in the namespace, no operator's resources, a manifest that is refused,
        or workers that are too small.
    PipelineError
        Scheduler or workers did not come in time.
    """
    name = f"sen12-{secrets.token_hex(4)}"
    manifest = dask_cluster(name, config, threads=_threads(config, needs), owner=owner_of_pod())
    with _problems_in_one_line(config.namespace, "create"):
        api = kr8s.api(kubeconfig=os.environ.get("KUBECONFIG"))
        api.timeout = API_SECONDS
        cluster = _DaskCluster(manifest, api=api)
    try:
        with _problems_in_one_line(config.namespace, "create"):
            cluster.create()
        logger.info("DaskCluster %s in %s: %d workers asked for", name, config.namespace, config.workers)
        end = time.monotonic() + config.start_timeout
        with _problems_in_one_line(config.namespace, "get"):
            _wait_for_service(name, config, api, end)
        address = scheduler_address(name, config)
        wait_for_worker(address, seconds=max(1.0, end - time.monotonic()), problem=_no_worker(name, config))
        yield address
    finally:
        _delete(cluster)


def _threads(config: KubernetesConfig, needs: int) -> int:
    if config.threads is None:
        return fitting_threads(needs, memory=config.memory, at_most=config.cpus)
    if needs:
        check_threads(needs, memory=config.memory, threads=config.threads)
    return config.threads


def _wait_for_service(name: str, config: KubernetesConfig, api: kr8s.Api, end: float) -> None:
    service = Service({"metadata": {"name": f"{name}-scheduler", "namespace": config.namespace}}, api=api)
    while not _is_there(service):
        if time.monotonic() > end:
            raise PipelineError(
                f"the operator made no scheduler for DaskCluster {name} within {config.start_timeout:.0f} s; does it "
                "run? See `kubectl get pods -A -l app.kubernetes.io/name=dask-kubernetes-operator`"
            )
        time.sleep(POLL_SECONDS)


def _is_there(service: Service) -> bool:
    try:
        service.refresh()
    except kr8s.NotFoundError:
        return False
    return True


def _no_worker(name: str, config: KubernetesConfig) -> str:
    return (
        f"no worker of DaskCluster {name} came within {config.start_timeout:.0f} s; while it is there, "
        f"`kubectl -n {config.namespace} describe pods -l dask.org/cluster-name={name}` says why"
    )


def _delete(cluster: APIObject) -> None:
    try:
        cluster.delete()
    except kr8s.NotFoundError:
        pass
    except (kr8s.ServerError, kr8s.APITimeoutError, httpx.HTTPError) as err:
        if isinstance(err, kr8s.ServerError) and _code(err) in {401, 403, 404}:
            # What may not be deleted could not be created either, or is gone.
            return
        logger.warning(
            "DaskCluster %s may be left: `kubectl -n %s delete daskcluster %s` (%s)",
            cluster.name,
            cluster.namespace,
            cluster.name,
            _one_line(err),
        )


@contextmanager
def _problems_in_one_line(namespace: str, verb: str) -> Iterator[None]:
    try:
        yield
    except kr8s.ServerError as err:
        raise RecipeError(_refusal(err, namespace, verb)) from err
    except (kr8s.APITimeoutError, kr8s.ConnectionClosedError, httpx.HTTPError, ssl.SSLError) as err:
        raise RecipeError(
            f"the Kubernetes API server does not answer ({_one_line(err)}); try `kubectl version`"
        ) from err
    except (ValueError, KeyError, OSError) as err:
        raise RecipeError(
            f"no usable Kubernetes credentials ({_one_line(err)}): set KUBECONFIG, or run in a pod that has "
            "a service account"
        ) from err


def _refusal(err: kr8s.ServerError, namespace: str, verb: str) -> str:
    said = _said(err)
    match _code(err):
        case 401 | 403:
            return (
                f"no leave to {verb} a Dask cluster in the namespace {namespace} ({said}): apply the role of "
                f"deployments/kubernetes/base/rbac.yaml, or try `kubectl auth can-i {verb} daskclusters -n {namespace}`"
            )
        case 404 if f'namespaces "{namespace}"' in said:
            return f"there is no namespace {namespace}: `kubectl create namespace {namespace}`"
        case 404:
            return (
                "this Kubernetes knows no DaskCluster: install the Dask operator, `helm install dask-operator "
                "dask-kubernetes-operator --repo https://helm.dask.org -n dask-operator --create-namespace`"
            )
    return f"Kubernetes refused to {verb} the Dask cluster in {namespace}: {said}"


def _code(err: kr8s.ServerError) -> int:
    return err.response.status_code if err.response is not None else 0


def _said(err: kr8s.ServerError) -> str:
    try:
        return _one_line(json.loads(err.response.text)["message"]) if err.response is not None else _one_line(err)
    except (ValueError, KeyError, TypeError, httpx.ResponseNotRead):
        return _one_line(err)


def _one_line(err: object) -> str:
    return " ".join(str(err).split()) or type(err).__name__
