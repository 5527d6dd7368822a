"""Places in, a Sentinel-1, Sentinel-2 and elevation patch dataset in the SSL4EO-S12 v1.1 layout out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.layouts.random_access import open_patches
    from pipeline.layouts.ssl4eo import open_shard

__all__ = ["__version__", "open_patches", "open_shard"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # xarray and zarr take seconds to import: only who opens a shard waits for them.
    if name == "open_shard":
        from pipeline.layouts.ssl4eo import open_shard  # noqa: PLC0415

        return open_shard
    if name == "open_patches":
        from pipeline.layouts.random_access import open_patches  # noqa: PLC0415

        return open_patches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
