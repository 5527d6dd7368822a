"""Flow plan-dataset: everything is decided and priced, and no spectral pixel is read; build-dataset goes on from it."""

from typing import Any

from prefect import State, flow
from prefect.states import Completed, Failed

from flows.artifacts import one_line
from flows.logs import prepare_logs
from flows.parameters import Cluster, Overrides, RecipeName, Text, cluster_setting, out_folder
from flows.runners import open_flow_runner
from flows.tasks import plan, prepare, price, search, survey, whole
from pipeline.cluster import worker_needs
from pipeline.errors import PipelineError
from pipeline.folder import Existing, check_folder


# Prefect reads the descriptions of parameters from the section `Args:`, and from no other style of docstring.
@flow(name="plan-dataset", persist_result=False)
def plan_dataset(  # noqa: PLR0913
    *,
    recipe: RecipeName = "landslides",
    overrides: Overrides = None,
    places: str | None = None,
    source: str | None = None,
    mirrors: list[str] | None = None,
    out: Text,
    cluster: Cluster = "local",
    existing: Existing = "resume",
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
        cluster: Where clouds are judged. "local" is the flow's own process, "local:4" four worker processes beside it,
            "tcp://host:8786" a running Dask scheduler whose workers see the same files;
            {"kind": "kubernetes", "config": "cluster.yaml"} or {"kind": "slurm", ...} a cluster made for the run.
        existing: What to do when the folder holds this plan already. "resume" shows it, "overwrite" plans again.
    """
    prepare_logs()
    try:
        setting = cluster_setting(cluster)
        request = prepare(recipe, overrides or {}, places, source, out_folder(out), mirrors or [])
        if not check_folder(request, existing):
            found = search(request)
            with open_flow_runner(setting, needs=worker_needs(request.recipe)) as runner:
                placed, scores = survey(request, whole(found), whole(runner))
                plan(request, whole(placed), whole(scores), whole(runner))
        line = price(request)
    except (PipelineError, OSError) as err:
        return Failed(message=one_line(err))
    return Completed(message=f"{line}; build-dataset with the same parameters goes on from here")
