"""Statistics of the train patches, as norm.json and the older norm_data.json hold them."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from pipeline.exports.request import Radiometry
from pipeline.exports.sen12landslides.patches import Written
from pipeline.records import Moments


def pooled(patches: Sequence[Written], radiometry: Radiometry) -> dict[str, Moments]:
    """Return the statistics of each variable over patches of one sensor, merged in the order of their ids."""
    ordered = sorted(patches, key=lambda patch: patch.sample.id)
    names = list(ordered[0].moments[radiometry])
    return {
        name: reduce(Moments.merge, (patch.moments[radiometry][name] for patch in ordered), Moments()) for name in names
    }


def norm_entry(moments: dict[str, Moments]) -> dict[str, Any]:
    """Return mean and population standard deviation of each variable, as norm.json has them for a sensor."""
    return {
        "mean": {name: found.mean for name, found in moments.items()},
        "std": {name: found.std for name, found in moments.items()},
    }


def norm_lists(moments: dict[str, Moments]) -> dict[str, list[float]]:
    """Return the same as lists in the order of the variables, as norm_data.json has them."""
    return {
        "mean": [found.mean for found in moments.values()],
        "std": [found.std for found in moments.values()],
    }
