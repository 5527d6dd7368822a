"""What a person looks at: the preview picture and the dataset card."""

from pipeline.report.card import (
    REASONS,
    missing_counts,
    provider_counts,
    rejected_lines,
    replaced_counts,
    write_card,
)
from pipeline.report.preview import write_preview

__all__ = [
    "REASONS",
    "missing_counts",
    "provider_counts",
    "rejected_lines",
    "replaced_counts",
    "write_card",
    "write_preview",
]
