"""The demonstration: a dataset from the embedded archives, which are generated, not observed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.archive import write_archive, write_seasonal_archive
from pipeline.folder import Request
from pipeline.recipes import Overrides, load_recipe, parse_overrides

DEMO_OVERRIDES: Mapping[str, Any] = {
    "series_length": 6, "window.before": 60, "window.after": 60, "samples_per_shard": 8,
}  # fmt: skip
"""What fits the embedded archive's twelve dates."""
SEASONAL_OVERRIDES: Mapping[str, Any] = {"samples_per_shard": 4, "split.val": 0.3}
"""What makes several files of the seasonal archive's few places."""


def demo_request(
    folder: Path, recipe: str = "landslides", overrides: Overrides = (), out: Path | None = None
) -> Request:
    """Write the archive to `folder`/archive unless it is there, and return the request for `out`, or `folder`/dataset.

    A recipe of seasonal series reads the seasonal archive, any other one the archive of dated landslides.
    """
    changes = parse_overrides(overrides)
    if load_recipe(recipe, changes).seasons is not None:
        seasonal = write_seasonal_archive(folder / "archive")
        places, source, fitting = seasonal.places, seasonal.catalog, SEASONAL_OVERRIDES
    else:
        archive = write_archive(folder / "archive")
        places, source, fitting = archive.inventory, archive.catalog, DEMO_OVERRIDES
    return Request(
        recipe=load_recipe(recipe, {**fitting, **changes}),
        places=str(places),
        source=str(source),
        out=out or folder / "dataset",
    )
