"""What the listing of SSL4EO-S12 v1.1 and the store table say of every shard, stated apart from the writer."""

DIMS: dict[str, tuple[str, ...]] = {
    "bands": ("sample", "time", "band", "y", "x"),
    "cloud_mask": ("sample", "time", "y", "x"),
    "center_lat": ("sample",),
    "center_lon": ("sample",),
    "crs": ("sample",),
    "file_id": ("sample", "time"),
    "sample_id": ("sample", "time"),
    "time_": ("sample", "time"),
    "x_": ("sample", "x"),
    "y_": ("sample", "y"),
}
COORDINATES = ("sample", "time", "band", "x", "y")
KINDS = {
    "cloud_mask": "u1", "center_lat": "f8", "center_lon": "f8", "crs": "i8", "file_id": "U", "sample_id": "U",
    "time_": "M8[ns]", "x_": "f8", "y_": "f8", "sample": "U", "time": "i8", "band": "U", "x": "i8", "y": "i8",
}  # fmt: skip
GROUP_ENTRIES = (".zattrs", ".zgroup", ".zmetadata")
PER_PATCH = ("bands", "cloud_mask")
"""Arrays with a chunk for every sample and timestep; the others have one chunk."""
LARGEST_CLOUD_CLASS = 6
