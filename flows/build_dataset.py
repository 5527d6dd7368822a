"""Flow build-dataset: places in, dataset out; a stage is a Prefect task, and the disk alone says what is done."""

from collections.abc import Sequence
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
from flows.tasks import build, finish, plan, prepare, search, survey, whole
from pipeline.cluster import worker_needs
from pipeline.errors import PipelineError
from pipeline.folder import Existing, check_folder
from pipeline.mirror import open_mirror
from pipeline.records import ShardReport


# Prefect reads the descriptions of parameters from the section `Args:`, and from no other style of docstring.
@flow(name="build-dataset", persist_result=False)
def build_dataset(  # noqa: PLR0913
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
    """Build a dataset of satellite patches, or go on with one; without places and source, the demo.

    Args:
        recipe: Name of a recipe that ships with the package, or path of a YAML file.
        overrides: Recipe values to change, in their groups or by dotted names:
            {"window": {"before": 90}} or {"window.before": 90, "series_length": 8}.
        places: Path of an inventory of dated polygons, or of points as CSV or Parquet. Needs a source.
        source: Provider name as planetary-computer, or path or URL of a STAC catalogue. Needs places.
        mirrors: Other providers of the same products, named as the source is, that are asked in this order for what it
            has no more. The dataset keeps them; more may be given when it goes on.
        out: Folder of the dataset; of archive and dataset for the demo. A relative path starts where the worker runs.
            Or an object store, as s3://bucket/prefix; credentials come from the environment, of all workers.
        cluster: Where the work runs. "local" is the flow's own process, "local:4" four worker processes beside it,
            "tcp://host:8786" a running Dask scheduler whose workers see the same files;
            {"kind": "kubernetes", "config": "cluster.yaml"} or {"kind": "slurm", ...} a cluster made for the run.
        existing: What to do when the folder holds this dataset already. "resume" builds what is not done.
        verify: "full" reads every asset that is used whole and compares it with the checksum that its item states.
    """
    prepare_logs()
    try:
        setting = cluster_setting(cluster)
        require_reach(places, out, setting)
        with open_mirror(out_place(out)) as mirror:
            request = prepare(recipe, overrides or {}, places, source, mirrors or [], whole(mirror))
            found = None if check_folder(request, existing) else search(request)
            with open_flow_runner(setting, needs=worker_needs(request.recipe, request.source)) as runner:
                if found is not None:
                    placed, scores = survey(request, whole(found), whole(runner), verify)
                    plan(request, whole(placed), whole(scores), whole(runner), whole(mirror))
                reports = build(request, whole(runner), whole(mirror), verify)
            summary = finish(request, whole(reports), whole(mirror))
    except (PipelineError, OSError) as err:
        return Failed(message=one_line(err))
    return _ending(summary, reports, existing)


def _ending(summary: str, reports: Sequence[ShardReport], existing: Existing) -> State[Any]:
    unfinished = [report for report in reports if report.state != "done"]
    if not unfinished:
        return Completed(message=summary)
    again = "" if existing == "resume" else " with existing=resume"
    return Failed(
        message=f"{len(unfinished)} of {len(reports)} files are unfinished (first: {one_line(unfinished[0].error)}); "
        f"run the same deployment again{again}: it goes on with them"
    )
