"""A ledger and reports of an imagined build, and the parameters of a real one."""

from support.orders import Order

from pipeline.catalog.built import LedgerRow
from pipeline.recipes import parse_overrides
from pipeline.records import ShardReport


def ledger_row(**changes) -> LedgerRow:
    values = {
        "sample_id": "a", "modality": "S2L2A", "timestep": 0, "state": "written", "reason": "", "detail": "",
        "shard": "all/S2L2A/x.zarr.zip", "acquisition": "", "scene_ids": (), "valid": 1.0, "filled": 0.0, "cloud": None,
    }  # fmt: skip
    return LedgerRow(**{**values, **changes})


LEDGER = [
    ledger_row(),
    ledger_row(modality="DEM"),
    ledger_row(timestep=1, state="missing", reason="too_cloudy"),
    ledger_row(timestep=2, state="missing", reason="too_cloudy"),
]
DONE = ShardReport(path="all/DEM/x.zarr.zip", plan_digest="", state="done", sha256="f", bytes=12, seconds=0.5)
STOPPED = ShardReport(path="all/S2L2A/x.zarr.zip", plan_digest="", state="unfinished", error="archive.example: 503")


def parameters(order: Order, out: str) -> dict[str, object]:
    """What build-dataset is given for the dataset of a command line."""
    overrides = dict(parse_overrides(order.overrides))
    return {"places": str(order.places), "source": str(order.catalogue), "out": out, "overrides": overrides}
