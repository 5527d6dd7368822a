"""A step of `prefect deploy`: the work pools of the file that the server does not have yet are made."""

from collections.abc import Mapping

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type


async def make_missing(pools: Mapping[str, str]) -> dict[str, list[str]]:
    """Make every work pool, name to type, that is not there; one that is there is left as it is.

    Raises
    ------
    ValueError
        The server knows no such type of work pool.
    """
    made = []
    async with get_client() as client:
        held = {pool.name for pool in await client.read_work_pools()}
        for name, kind in pools.items():
            if name in held:
                continue
            template = await get_default_base_job_template_for_infrastructure_type(kind)
            if template is None:
                command = f"prefect work-pool create {name} --type {kind}"
                raise ValueError(f"there is no template for work pools of type {kind}; install it, then `{command}`")
            try:
                await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
            except ObjectAlreadyExists:
                continue
            made.append(name)
    return {"made": made}
