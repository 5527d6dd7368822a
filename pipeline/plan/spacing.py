"""How far apart: series whose neighbouring images lie no further from each other than a largest gap."""

from collections.abc import Sequence
from itertools import pairwise

from pipeline.plan.request import Image


def is_near(earlier: Image, later: Image, gap: int) -> bool:
    """Tell whether no more than `gap` whole days lie between: repeats of an orbit differ from days by seconds."""
    return (later.acquired - earlier.acquired).days <= gap


def stretch_around(images: Sequence[Image], anchors: Sequence[Image], gap: int) -> list[Image] | None:
    """Return the images that can be linked to the anchors; None where the anchors cannot be linked to each other.

    Parameters
    ----------
    images
        Ascending.
    anchors
        Some of them.
    gap
        Largest number of whole days between neighbours.
    """
    stretches: list[list[Image]] = []
    for image in images:
        if not stretches or not is_near(stretches[-1][-1], image, gap):
            stretches.append([])
        stretches[-1].append(image)
    for stretch in stretches:
        if all(anchor in stretch for anchor in anchors):
            return stretch
    return None


def link(
    kept: Sequence[Image], optional: Sequence[Image], images: Sequence[Image], *, gap: int, places: int
) -> list[Image] | None:
    """Close the gaps of a series with as few further images as can be, and of these the best.

    Parameters
    ----------
    kept
        What the series must hold.
    optional
        What else it holds, best first: where there is no room for what closes the gaps, the last ones give way.
    images
        One stretch of images that can be linked, ascending; holds the others.
    gap
        Largest number of whole days between neighbours.
    places
        Room of the series.

    Returns
    -------
    list of Image
        Ascending; None where even the kept ones cannot be linked with so few places.
    """
    for count in range(len(optional), -1, -1):
        positions = sorted(images.index(image) for image in (*kept, *optional[:count]))
        linked = list(positions)
        for first, last in pairwise(positions):
            linked += _between(images, first, last, gap)
        if len(linked) <= places:
            return [images[position] for position in sorted(linked)]
    return None


def _between(images: Sequence[Image], first: int, last: int, gap: int) -> list[int]:
    """Return positions between two images that close their gap: the fewest, then those with the least `bad` in all."""
    best: dict[int, tuple[int, float, list[int]]] = {first: (0, 0.0, [])}
    for here in range(first + 1, last + 1):
        reached = [
            (best[back][0] + 1, best[back][1] + images[here].bad, back)
            for back in range(first, here)
            if is_near(images[back], images[here], gap)
        ]
        count, bad, back = min(reached)
        best[here] = count, bad, [*best[back][2], here]
    return best[last][2][:-1]
