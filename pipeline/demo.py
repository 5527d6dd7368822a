"""The demonstration: a landslide dataset from the embedded archive, which is generated, not observed."""

from pathlib import Path

from pipeline.archive import write_archive
from pipeline.folder import Request
from pipeline.recipes import Overrides, load_recipe, parse_overrides

DEMO_OVERRIDES = {"series_length": 6, "window.before": 60, "window.after": 60, "samples_per_shard": 8}
"""What fits the embedded archive's twelve dates."""


def demo_request(folder: Path, recipe: str = "landslides", overrides: Overrides = ()) -> Request:
    """Write the archive to `folder`/archive unless it is there, and return the request for `folder`/dataset."""
    archive = write_archive(folder / "archive")
    return Request(
        recipe=load_recipe(recipe, {**DEMO_OVERRIDES, **parse_overrides(overrides)}),
        places=str(archive.inventory),
        source=str(archive.catalog),
        out=folder / "dataset",
    )
