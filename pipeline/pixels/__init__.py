"""Array in, array out: what happens to pixels between the source and the store; no IO, no clock, no randomness."""

from pipeline.pixels.classification import (
    ClassShares,
    CloudMask,
    SceneClass,
    class_shares,
    cloud_mask_from_scl,
)
from pipeline.pixels.labels import rasterize_fraction, rasterize_mask, rasterize_states
from pipeline.pixels.moments import frame_moments, merged_moments, moments_of
from pipeline.pixels.reflectance import apply_offset, apply_offset_inplace
from pipeline.pixels.sar import power_to_db

__all__ = [
    "ClassShares",
    "CloudMask",
    "SceneClass",
    "apply_offset",
    "apply_offset_inplace",
    "class_shares",
    "cloud_mask_from_scl",
    "frame_moments",
    "merged_moments",
    "moments_of",
    "power_to_db",
    "rasterize_fraction",
    "rasterize_mask",
    "rasterize_states",
]
