"""Tools on any folder of SSL4EO-S12 v1.1 chunk files, ours or the published one: check, repair, statistics."""

from pipeline.published.checks import check_folder
from pipeline.published.repair import Repair, repair_folder
from pipeline.published.statistics import folder_statistics

__all__ = ["Repair", "check_folder", "folder_statistics", "repair_folder"]
