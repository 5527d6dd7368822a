"""Images that were planned and proved to be of no use when they were read, for good and not for the moment."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.records.modality import Product
from pipeline.records.shard import Reason, Shard, ShardReport

UNUSABLE = frozenset({Reason.UNREADABLE, Reason.EMPTY, Reason.TOO_MUCH_MISSING})
"""What only reading shows, and what no second reading changes."""
MENDABLE = frozenset({Reason.UNREADABLE, Reason.EMPTY, Reason.UNREACHABLE})
"""What may be otherwise at a mirror: gaps of a file that is sound are gaps of its copies."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Unreadable:
    """One image of one sample that no plan may read there again; a row of unreadable.parquet."""

    sample_id: str
    product: Product
    acquisition: str
    modality: str
    """The modality that was read; no modality of the product has the image any more."""
    reason: str
    """unreadable (gone, damaged, without a map projection), empty or too_much_missing; or unreachable, where the user
    had a mirror asked instead."""
    detail: str
    """What the reader said, without signatures."""
    scene_ids: tuple[str, ...]
    """Scenes that make up the image over the patch."""
    source: str = ""
    """Mirror that it is of no use at; empty for the dataset's own source."""


def unreadable_in(shard: Shard, report: ShardReport) -> Iterable[Unreadable]:
    """Yield what one file's receipt says of images that the plan named and that are of no use."""
    product = shard.kind.product
    for patch in report.patches:
        if patch.state == "missing" and patch.acquisition and patch.reason in UNUSABLE:
            yield Unreadable(
                sample_id=patch.sample_id,
                product=product,
                acquisition=patch.acquisition,
                modality=shard.modality,
                reason=patch.reason,
                detail=patch.detail,
                scene_ids=patch.scene_ids,
                source=patch.source,
            )
