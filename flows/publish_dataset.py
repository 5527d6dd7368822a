"""Flow publish-dataset: a finished dataset is checked and copied to its home, whole or not at all."""

from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Completed, Failed
from pydantic import Field

from flows.artifacts import one_line
from flows.logs import prepare_logs
from flows.parameters import Text
from flows.tasks import check, copy
from pipeline.errors import PipelineError, RecipeError
from pipeline.stores import SCHEMES, is_store

Target = Annotated[str, Field(pattern=rf"^(({'|'.join(SCHEMES)})://[^?@]+|[^:]+)$")]


# Prefect reads the descriptions of parameters from the section `Args:`, and from no other style of docstring.
@flow(name="publish-dataset", persist_result=False)
def publish_dataset(*, dataset: Text, target: Target) -> State[Any]:
    """Check a dataset and copy it to a folder or object store; MANIFEST comes last and says that it is whole.

    Args:
        dataset: Folder of the dataset. A relative path starts where the worker runs.
        target: Folder, or URL of an object store as s3://bucket/prefix. Credentials come from the worker's environment.
    """
    prepare_logs()
    try:
        if is_store(dataset):
            raise RecipeError(
                f"{dataset} is an object store, and publishing copies from a folder: copy it to one first"
            )
        name = check(Path(dataset).absolute())
        publication = copy(Path(dataset).absolute(), target, name)
    except (PipelineError, OSError) as err:
        return Failed(message=one_line(err))
    return Completed(message=str(publication))
