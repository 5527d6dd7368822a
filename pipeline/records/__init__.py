"""Plain frozen data that every room shares; imports nothing but errors."""

from pipeline.records.modality import MODALITIES, S2_NODATA, Band, Modality, Product, Resampling, store_order
from pipeline.records.moments import Moments
from pipeline.records.own import OwnModality
from pipeline.records.place import Event, PatchGrid, RejectedEvent, Sample
from pipeline.records.recipe import Recipe
from pipeline.records.scene import Copy, Scene, Score
from pipeline.records.shard import (
    AssetRef,
    Choice,
    PatchReport,
    PlanRow,
    Reason,
    Shard,
    ShardReport,
    ShardSample,
)
from pipeline.records.unreadable import MENDABLE, UNUSABLE, Unreadable, unreadable_in

__all__ = [
    "MENDABLE",
    "MODALITIES",
    "S2_NODATA",
    "UNUSABLE",
    "AssetRef",
    "Band",
    "Choice",
    "Copy",
    "Event",
    "Modality",
    "Moments",
    "OwnModality",
    "PatchGrid",
    "PatchReport",
    "PlanRow",
    "Product",
    "Reason",
    "Recipe",
    "RejectedEvent",
    "Resampling",
    "Sample",
    "Scene",
    "Score",
    "Shard",
    "ShardReport",
    "ShardSample",
    "Unreadable",
    "store_order",
    "unreadable_in",
]
