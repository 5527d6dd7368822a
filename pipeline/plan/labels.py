"""Rows of the label modalities: one for a static mask, one for each image that a series of masks follows."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.records import Choice, Modality, PlanRow, Reason, Sample


def label_rows(sample: Sample, modality: Modality, series: Sequence[PlanRow]) -> list[PlanRow]:
    """Return the rows of one label modality of one sample.

    A series of masks has the time axis of the sample's Sentinel-2 images: a mask is there where an image is planned, at
    the moment of its acquisition, and is missing for the same reason elsewhere. Without Sentinel-2 it follows the first
    series that has rows, and without any series it has none.

    Parameters
    ----------
    sample : Sample
        One that has no date has no labels either.
    modality : Modality
        Of product LABELS.
    series : sequence of PlanRow
        The sample's rows of all series of images, in the order of the recipe and of time.
    """
    if modality.is_series:
        return [_frame_row(sample, modality, row) for row in _followed(series)]
    choice = Choice(acquisition="labels", acquired=sample.date, file_id="", assets=()) if sample.date else None
    reason = "" if choice else str(Reason.NO_COVERAGE)
    return [PlanRow(sample_id=sample.id, modality=modality.name, timestep=0, choice=choice, reason=reason)]


def _followed(series: Sequence[PlanRow]) -> list[PlanRow]:
    names = [row.modality for row in series]
    followed = "S2L2A" if "S2L2A" in names else next(iter(names), "")
    return [row for row in series if row.modality == followed]


def _frame_row(sample: Sample, modality: Modality, image: PlanRow) -> PlanRow:
    row = replace(image, modality=modality.name, alternates=())
    if image.choice is None:
        return row
    if sample.date is None:
        return replace(row, choice=None, reason=str(Reason.NO_COVERAGE), is_padding=False)
    acquired = image.choice.acquired
    return replace(row, choice=Choice(acquisition="labels", acquired=acquired, file_id="", assets=()))
