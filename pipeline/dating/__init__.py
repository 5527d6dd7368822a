"""Dating the undated polygons of an inventory by their Sentinel-2 vegetation index."""

from pipeline.dating.interval import IntervalRules
from pipeline.dating.run import Dated, DatingRequest, Progress, date_inventory

__all__ = ["Dated", "DatingRequest", "IntervalRules", "Progress", "date_inventory"]
