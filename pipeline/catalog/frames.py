"""frames.parquet: what each stored image is, one row for every frame of imagery in the files."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from pipeline.catalog.codec import to_table
from pipeline.records import Choice, PatchReport, PlanRow, Shard, ShardReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRow:
    """One stored (sample, modality, timestep), radar and elevation among them."""

    sample_id: str
    modality: str
    timestep: int
    shard: str
    """Path of the file inside the dataset."""
    position: int
    """Index along the file's sample axis."""
    acquired: datetime
    """Acquisition start, UTC, as `time_` has it; of elevation whatever date its scene states."""
    file_id: str
    """Product id of the first scene."""
    scene_ids: tuple[str, ...]
    """The provider's ids of the scenes that were mosaicked, first one first; scenes.parquet has their references."""
    tile: str
    """MGRS tile of the first scene as `T33TWM`; empty for other products than Sentinel-2."""
    platform: str
    orbit_state: str
    """ascending, descending, or unknown where the scene does not say."""
    relative_orbit: int | None
    baseline: str
    """Sentinel-2 processing baseline of the first scene as `05.09`."""
    offset: int | None
    """Digital numbers that were added to the scenes' own when they were read: 0 or -1000, not the recipe's `offset`;
    None where scenes of the mosaic differ."""
    offset_rule: str
    """Which of the first scene's own statements decided `offset`."""
    cloud: float | None
    """Share of the patch under cloud [1], from the survey; None where nothing was surveyed, or could not be read."""
    bad: float | None
    """Share of the patch hidden by cloud, shadow or no data [1], likewise."""
    valid: float
    """Share of values with data as they were read [1]."""
    filled: float
    """Share of values that were filled from the nearest valid pixel [1]."""
    is_padding: bool
    """True where the series was too short and its last image stands here once more."""
    source: str
    """Provider that it was read from: the dataset's own source, or a mirror."""


def frames_table(shards: Sequence[Shard], reports: Sequence[ShardReport], source: str = "") -> pa.Table:
    """Return frames.parquet: every written frame of imagery, by file, place in the file and time; labels are none.

    `source` names the dataset's own source.
    """
    by_path = {report.path: report for report in reports if report.state == "done"}
    tables: dict[str, pa.Table] = {}
    for shard in shards:
        if shard.kind.product != "LABELS" and shard.path in by_path:
            rows = sorted(_rows(shard, by_path[shard.path], source), key=lambda row: (row.position, row.timestep))
            tables[shard.path] = to_table(rows, FrameRow)
    return pa.concat_tables([to_table([], FrameRow), *(tables[path] for path in sorted(tables))]).combine_chunks()


def written_rows(shard: Shard, report: ShardReport) -> Iterator[tuple[PlanRow, Choice, PatchReport]]:
    """Yield the plan's row, its choice and its receipt for every patch of a file that was planned and written."""
    written = {(patch.sample_id, patch.timestep): patch for patch in report.patches if patch.state == "written"}
    for row in shard.rows:
        patch = written.get((row.sample_id, row.timestep))
        if patch is not None and row.choice is not None:
            yield row, row.choice, patch


def _rows(shard: Shard, report: ShardReport, source: str) -> Iterator[FrameRow]:
    positions = {sample.id: index for index, sample in enumerate(shard.samples)}
    for row, choice, patch in written_rows(shard, report):
        yield FrameRow(
            sample_id=row.sample_id,
            modality=shard.modality,
            timestep=row.timestep,
            shard=shard.path,
            position=positions[row.sample_id],
            acquired=choice.acquired,
            file_id=choice.file_id,
            scene_ids=tuple(asset.scene_id for asset in choice.assets),
            tile=choice.tile,
            platform=choice.platform,
            orbit_state=choice.orbit_state,
            relative_orbit=choice.relative_orbit,
            baseline=choice.baseline,
            offset=_common_offset(choice),
            offset_rule=choice.offset_rule,
            cloud=_known(choice.cloud),
            bad=_known(choice.bad),
            valid=patch.valid,
            filled=patch.filled,
            is_padding=row.is_padding,
            source=patch.source or source,
        )


def _known(share: float | None) -> float | None:
    return None if share is None or math.isnan(share) else share


def _common_offset(choice: Choice) -> int | None:
    offsets = {asset.offset for asset in choice.assets}
    return offsets.pop() if len(offsets) == 1 else None
