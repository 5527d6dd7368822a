"""Datasets made by hand for what reads finished ones: known pixels in shards, and the tables that name them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.records import make_choice, make_grid, make_sample

from pipeline.catalog.built import LedgerRow
from pipeline.catalog.codec import to_table, write_table
from pipeline.catalog.decided import Decided, write_decided
from pipeline.layouts.ssl4eo import ShardContent, Store, write_shard
from pipeline.plan.packing import NOWHERE, Place
from pipeline.records import MODALITIES, PlanRow, Sample

Images = Mapping[str, NDArray[Any]]
"""Sample to (time, band, y, x)."""


def write_shards(
    root: Path,
    modality: str,
    images: Images,
    files: Sequence[Sequence[str]],
    *,
    masks: Mapping[str, NDArray[np.uint8]] | None = None,
    store: Store = "chunked",
) -> None:
    """Write `all/{modality}/file_{number}.zarr.zip` with the samples of each of `files`, in that order."""
    kind = MODALITIES[modality]
    for number, names in enumerate(files):
        values = np.stack([images[name] for name in names]).astype(kind.dtype)
        samples, steps, bands, size, _ = values.shape
        content = ShardContent(
            bands=values,
            band_names=kind.band_names[:bands],
            sample_ids=tuple(names),
            file_ids=np.full((samples, steps), "product"),
            times=np.full((samples, steps), np.datetime64("2023-01-01", "ns")),
            epsg=np.full(samples, 32633),
            lon=np.zeros(samples),
            lat=np.zeros(samples),
            eastings=np.zeros((samples, size)),
            northings=np.zeros((samples, size)),
            cloud_mask=None if masks is None else np.stack([masks[name] for name in names]),
            band_attributes={} if kind.nodata is None else {"nodata": kind.nodata},
            store=store,
        )
        write_shard(root / "all" / modality / f"file_{number}.zarr.zip", content)


def write_tables(
    root: Path,
    files: Sequence[Sequence[str]],
    steps: Mapping[str, int],
    *,
    states: Mapping[tuple[str, str, int], str] | None = None,
    padding: Sequence[tuple[str, str, int]] = (),
) -> None:
    """Write ledger and plan of the samples in `files` for each modality's number of `steps`."""
    ledger, plan = [], []
    for number, names in enumerate(files):
        for key in ((name, modality, step) for name in names for modality in steps for step in range(steps[modality])):
            name, modality, step = key
            state = (states or {}).get(key, "written")
            ledger.append(
                LedgerRow(
                    sample_id=name, modality=modality, timestep=step, state=state, reason="", detail="",
                    shard=f"all/{modality}/file_{number}.zarr.zip", acquisition="", scene_ids=(), valid=1.0,
                    filled=0.0, cloud=None,
                )
            )  # fmt: skip
            choice = make_choice()
            row = PlanRow(
                sample_id=name, modality=modality, timestep=step, choice=choice, is_padding=key in set(padding)
            )
            plan.append(row)
    write_table(root / "ledger.parquet", to_table(ledger, LedgerRow))
    write_table(root / "plan.parquet", to_table(plan, PlanRow))


def write_samples(
    root: Path,
    places: Mapping[str, tuple[float, float]],
    *,
    side: int = 128,
    events: Mapping[str, Sequence[str]] | None = None,
    passes: Mapping[str, Sequence[str]] | None = None,
    unplaced: Sequence[str] = (),
) -> Path:
    """Write the tables of patches whose lower left corners lie at `places` [m] in zone 33 north.

    Events are spelled `id@2023-08-01`; patches in `unplaced` are in no file.
    """
    samples: list[Sample] = []
    rows: list[PlanRow] = []
    for name, (left, bottom) in places.items():
        held = [event.split("@") for event in (events or {}).get(name, ())]
        days = tuple(datetime.fromisoformat(day).replace(tzinfo=UTC) for _, day in held)
        grid = make_grid(left=left, top=bottom + side * 10.0, size=side)
        samples.append(
            make_sample(
                name, grid=grid, is_annotated=bool(held), event_ids=tuple(event for event, _ in held),
                event_dates=days, event_from=days, event_to=days,
            )
        )  # fmt: skip
        for step, scene in enumerate((passes or {}).get(name, ())):
            rows.append(PlanRow(sample_id=name, modality="S2L2A", timestep=step, choice=make_choice(scene)))
    spots = {
        name: NOWHERE if name in unplaced else Place(split="all", shard="file_0", position=index)
        for index, name in enumerate(places)
    }
    root.mkdir(parents=True, exist_ok=True)
    write_decided(
        root, Decided(samples=tuple(samples), events=(), scenes=(), scores=(), rows=tuple(rows), places=spots)
    )
    return root
