"""A step of `prefect deploy`: the work pools of the file that the server does not have yet are made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type


async def make_missing(pools: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Make every work pool that is not there; one that is there is left as it is.

    Parameters
    ----------
    pools : mapping
        Name to `type`, and `base_job_template`, the path of a JSON file, where the type's own will not do.

    Raises
    ------
    ValueError
        The server knows no such type of work pool, or the template cannot be read.
    """
    made = []
    async with get_client() as client:
        held = {pool.name for pool in await client.read_work_pools()}
        for name, pool in pools.items():
            if name in held:
                continue
            template = await _template(name, pool)
            try:
                await client.create_work_pool(WorkPoolCreate(name=name, type=pool["type"], base_job_template=template))
            except ObjectAlreadyExists:
                continue
            made.append(name)
    return {"made": made}


async def _template(name: str, pool: Mapping[str, str]) -> dict[str, Any]:
    path = pool.get("base_job_template")
    if path is not None:
        try:
            return cast(dict[str, Any], json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as err:
            raise ValueError(f"work pool {name}: template {path} cannot be read: deploy from the root") from err
    template = await get_default_base_job_template_for_infrastructure_type(pool["type"])
    if template is None:
        command = f"prefect work-pool create {name} --type {pool['type']}"
        raise ValueError(f"there is no template for work pools of type {pool['type']}; install it, then `{command}`")
    return template
