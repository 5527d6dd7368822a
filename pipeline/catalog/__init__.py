"""Every parquet table of a dataset, and the JSON beside them: what was decided, what was built, what is missing."""

from pipeline.catalog.built import Ledger, rejected_rows, write_built
from pipeline.catalog.decided import (
    Decided,
    read_decided,
    replanned,
    reshaped_tables,
    write_decided,
    write_replanned,
)

__all__ = [
    "Decided",
    "Ledger",
    "read_decided",
    "rejected_rows",
    "replanned",
    "reshaped_tables",
    "write_built",
    "write_decided",
    "write_replanned",
]
