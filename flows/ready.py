"""`python -m flows.ready build-dataset/landslides`: can the deployment run, and if not, which command mends it."""

import asyncio
import sys
from collections.abc import Sequence

from httpx import HTTPError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

DEPLOY = "prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml"
CONNECT_SECONDS = 10.0


async def find_problem(deployment: str) -> str:
    """Return what keeps a deployment, named FLOW/DEPLOYMENT, from running, in one line; empty when nothing does."""
    url = get_current_settings().api.url
    if not url:
        return "PREFECT_API_URL is not set; start a server with `prefect server start` and export its address"
    try:
        async with get_client(httpx_settings={"timeout": CONNECT_SECONDS}) as client:
            return await _problem_of(deployment, client)
    except (HTTPError, RuntimeError):
        return f"no Prefect server answers at {url}; start one with `prefect server start`, or mend PREFECT_API_URL"


async def _problem_of(name: str, client: PrefectClient) -> str:
    try:
        deployment = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return f"deployment {name} is not there; `{DEPLOY}`"
    pool = deployment.work_pool_name
    if not pool:
        return f"deployment {name} has lost its work pool; `{DEPLOY}`"
    kind = (await client.read_work_pool(pool)).type
    online = WorkerFilter(status=WorkerFilterStatus(any_=[WorkerStatus.ONLINE]))
    if not await client.read_workers_for_work_pool(pool, worker_filter=online):
        return f"no worker takes runs of work pool {pool}; `prefect worker start --pool {pool} --type {kind}`"
    return ""


def main(arguments: Sequence[str]) -> int:
    """Print what keeps each of the deployments from running; returns 0 when nothing does."""
    problems = [asyncio.run(find_problem(name)) for name in arguments]
    for name, problem in zip(arguments, problems, strict=True):
        sys.stdout.write(f"{name}: {problem or 'ready'}\n")
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
