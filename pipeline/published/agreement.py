"""One file's modalities against each other: the same patches in the same order, the same sizes."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.published.arrays import Labels
from pipeline.published.standard import is_series
from pipeline.validate.findings import Finding

_PLACES = {
    "crs": "epsg",
    "center_lon": "lon",
    "center_lat": "lat",
    "x_": "eastings",
    "y_": "northings",
}
"""Variable to the field of `Labels` that holds it."""


def check_agreement(labels: Sequence[Labels]) -> Iterator[Finding]:
    """Yield where the modalities of one file disagree with the first of them."""
    for other in labels[1:]:
        for what in _disagreements(other, labels[0]):
            yield Finding(other.where, what)


def _disagreements(labels: Labels, reference: Labels) -> Iterator[str]:
    shared = ("sample", "time", "y", "x") if is_series(labels.modality) else ("sample", "y", "x")
    sizes, wanted = ({name: held.sizes[name] for name in shared} for held in (labels, reference))
    if sizes != wanted:
        yield f"has sizes {_listed(sizes)}, but {reference.modality} has {_listed(wanted)}"
        return
    if not np.array_equal(labels.samples, reference.samples):
        same = set(labels.samples.tolist()) == set(reference.samples.tolist())
        at = int(np.argmax(labels.samples != reference.samples))
        first = f"position {at}: {labels.samples[at]}, there {reference.samples[at]}"
        what = "the samples in another order than" if same else "other samples than"
        yield f"has {what} {reference.modality} (first at {first})"
        return
    for name, field in _PLACES.items():
        came, there = getattr(labels, field), getattr(reference, field)
        differs = (came != there).reshape(len(labels.samples), -1).any(axis=1)
        if differs.any():
            count, first = int(differs.sum()), labels.samples[differs][0]
            yield f"{name} differs from {reference.modality} in {count} samples (first: {first})"


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())
