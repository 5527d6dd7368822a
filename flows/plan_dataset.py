"""Flow plan-dataset: everything is decided and priced, and no spectral pixel is read; build-dataset goes on from it."""

from typing import Any

from prefect import State, flow
from prefect.states import Completed, Failed

from flows.artifacts import one_line
from flows.logs import prepare_logs
from flows.parameters import (
    Cluster,
    Mirrors,
    Out,
    Overrides,
    RecipeName,
    SourceName,
    Verify,
    cluster_setting,
    out_place,
    require_reach,
)
from flows.runners import open_flow_runner
from flows.tasks import plan, prepare, price, search, survey, whole
from pipeline.cluster import worker_needs
from pipeline.errors import PipelineError
from pipeline.folder import Existing, check_folder
from pipeline.mirror import open_mirror


# Prefect reads the descriptions of parameters from the section `Args:`, and from no other style of docstring.
@flow(name="plan-dataset", persist_result=False)
def plan_dataset(  # noqa: PLR0913
    *,
    recipe: RecipeName = "landslides",
    overrides: Overrides = None,
    places: str | None = None,
    source: SourceName | None = None,
    mirrors: Mirrors = None,
    out: Out,
    cluster: Cluster = "local",
    existing: Existing = "resume",
    verify: Verify = None,
) -> State[Any]:
    """Decide what a dataset will hold, and show what building it takes; without places and source, the demo.

    Args:
        recipe: Name of a recipe that ships with the package, or path of a YAML file.
        overrides: Recipe values to change, in their groups or by dotted names:
            {"window": {"before": 90}} or {"window.before": 90, "series_length": 8}.
        places: Path of an inventory of dated polygons, or of points as CSV or Parquet. Needs a source.
        source: Provider name as planetary-computer, or path or URL of a STAC catalogue. Needs places.
        mirrors: Other providers of the same products, named as the source is, that are asked in this order for what it
            has no more. The dataset keeps them; more may be given when it goes on.
        out: Folder of the dataset; of archive and dataset for the demo. A relative path starts where the worker runs.
            Or an object store, as s3://bucket/prefix; credentials come from the environment.
        cluster: Where clouds are judged. "local" is the flow's own process, "local:4" four worker processes beside it,
            "tcp://host:8786" a running Dask scheduler whose workers see the same files;
            {"kind": "kubernetes", "config": "cluster.yaml"} or {"kind": "slurm", ...} a cluster made for the run.
        existing: What to do when the folder holds this plan already. "resume" shows it, "overwrite" plans again.
        verify: "full" reads every classification that is used whole and compares it with its item's checksum.
    """
    prepare_logs()
    try:
        setting = cluster_setting(cluster)
        require_reach(places, out, setting)
        with open_mirror(out_place(out)) as mirror:
            request = prepare(recipe, overrides or {}, places, source, mirrors or [], whole(mirror))
            if not check_folder(request, existing):
                found = search(request)
                with open_flow_runner(setting, needs=worker_needs(request.recipe, request.source)) as runner:
                    placed, scores = survey(request, whole(found), whole(runner), verify)
                    plan(request, whole(placed), whole(scores), whole(runner), whole(mirror))
            line = price(request, whole(mirror))
    except (PipelineError, OSError) as err:
        return Failed(message=one_line(err))
    return Completed(message=f"{line}; build-dataset with the same parameters goes on from here")
