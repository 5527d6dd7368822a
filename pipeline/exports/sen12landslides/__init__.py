"""Sen12Landslides as released: a NetCDF file per patch and sensor, task files, splits, statistics and polygons.

Formats are those of the release and of the code that reads it (github.com/PaulH97/Sen12Landslides). One thing is better
on purpose: the Sentinel-2 offset is removed before values are clipped, so a saturated pixel is 10000 on every date.
"""

from pipeline.exports.sen12landslides.export import export_sen12landslides
from pipeline.exports.sen12landslides.read import open_patch

__all__ = ["export_sen12landslides", "open_patch"]
