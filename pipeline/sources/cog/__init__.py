"""Reading windows of tiled GeoTIFFs faster than GDAL, to the same bits."""

from pipeline.sources.cog.reader import CogReader

__all__ = ["CogReader"]
