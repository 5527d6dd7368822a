"""Other layouts that a finished dataset can be written in: a folder here and one line in EXPORTS for each."""

from pipeline.exports.request import ExportRequest, ExportSummary, Progress, Radiometry
from pipeline.exports.sen12landslides import export_sen12landslides

__all__ = ["EXPORTS", "ExportRequest", "ExportSummary", "Progress", "Radiometry"]

EXPORTS = {
    "sen12landslides": export_sen12landslides,
}
"""Layout to the function that writes it."""
