"""Every check on a folder of v1.1 chunk files; changes nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from pipeline.copies import Lend, in_place
from pipeline.plan.packing import ALL
from pipeline.published.arrays import Labels
from pipeline.published.files import Checked, check_files
from pipeline.published.folder import Folder, open_folder, path_of
from pipeline.published.lists import check_lists, check_modalities
from pipeline.published.standard import SPACING, is_series
from pipeline.published.tables import Table, check_names, check_rows, open_table
from pipeline.validate.findings import Finding


def check_folder(root: Path, *, spacing: float = SPACING, lend: Lend = in_place) -> list[Finding]:
    """Check a folder in the layout of SSL4EO-S12 v1.1 (chunk files), ours or the published one; changes nothing.

    Every chunk is read once; the modalities of one file name are compared, then let go. Lists and metadata tables are
    optional, but what one split has, each should have.

    Parameters
    ----------
    root : Path
        Folder of train/, val/ and so on.
    spacing : float
        Size of a pixel [m].
    lend
        Makes the files of one name readable while they are checked.

    Returns
    -------
    list of Finding
        Sorted by where; one line each, with a count and the first example.

    Raises
    ------
    LayoutError
        `root` is not a folder or holds no chunk file.
    """
    folder = open_folder(root)
    findings = list(_check_presence(folder))
    shapes: dict[str, Labels] = {}
    for split in folder.splits:
        findings += check_modalities(folder, split)
        findings += check_lists(folder, split)
        tables = _tables(folder, split, findings)
        for name, modalities in folder.iter_files(split):
            with ExitStack() as lent:
                for modality in modalities:
                    lent.enter_context(lend(root / path_of(split, modality, name)))
                checked = check_files(root, split, name, modalities, spacing)
            findings += checked.findings
            findings += _check_shapes(checked, shapes)
            findings += _check_rows(checked, name, tables)
    return sorted(set(findings))


def _tables(folder: Folder, split: str, findings: list[Finding]) -> list[Table]:
    tables = []
    for path in folder.tables(split):
        table, found = open_table(folder, path)
        findings += found
        if table is not None:
            findings += check_names(table, folder, split)
            tables.append(table)
    return tables


def _check_rows(checked: Checked, name: str, tables: list[Table]) -> Iterator[Finding]:
    reference = checked.reference
    if reference is not None:
        for table in tables:
            yield from check_rows(table, name, reference)


def _check_presence(folder: Folder) -> Iterator[Finding]:
    lists = {split: bool(folder.lists(split)) for split in folder.splits}
    tables = {split: bool(folder.tables(split)) for split in folder.splits}
    if not any((*lists.values(), *tables.values())):
        return
    for split in folder.splits:
        if not lists[split] and split != ALL:
            yield Finding("splits", f"has no list of {split}, as splits/ssl4eos12_{split}.txt")
        if not tables[split]:
            yield Finding("metadata", f"has no table of {split}, as metadata/{split}_metadata.parquet")


def _check_shapes(checked: Checked, shapes: dict[str, Labels]) -> Iterator[Finding]:
    """Compare with the first file of each modality: only the number of samples may differ."""
    for labels in checked.labels:
        first = shapes.setdefault(labels.modality, labels)
        if labels.bands != first.bands:
            yield Finding(
                labels.where, f"has bands {', '.join(labels.bands)}, but {first.where} {', '.join(first.bands)}"
            )
        dims = ("time", "y", "x") if is_series(labels.modality) else ("y", "x")
        if any(labels.sizes[dim] != first.sizes[dim] for dim in dims):
            came, there = (", ".join(f"{dim} {held.sizes[dim]}" for dim in dims) for held in (labels, first))
            yield Finding(labels.where, f"has sizes {came}, but {first.where} {there}")
