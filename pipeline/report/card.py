"""The dataset card: what is in a dataset, where it comes from, what is missing and why, under what terms."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.catalog.built import Ledger
from pipeline.catalog.decided import Decided
from pipeline.records import S2_NODATA, Recipe

ATTRIBUTION = "Contains modified Copernicus Sentinel data {years}."

REASONS: Mapping[str, str] = {
    "no_scene": "no acquisition reaches the patch in the window",
    "too_cloudy": "every acquisition in the window hides more of the patch than the recipe allows",
    "series_short": "fewer usable acquisitions than the series has places",
    "no_image_before": "no usable image before the event",
    "no_image_after": "no usable image after the event",
    "no_coverage": "the source has no data of this kind here",
    "no_pair": "no radar near enough in time to the optical image",
    "too_much_missing": "more of the patch lacks data than the recipe allows",
    "left_out": "the place is in no file, because other images of it are missing",
    "unreadable": "the planned scene cannot be read, and no other was tried",
    "empty": "the scene has no valid pixel in the patch",
}


def missing_counts(ledger: Ledger) -> Counter[tuple[str, str]]:
    """Return how many patches are not there, by modality and reason."""
    return Counter((row.modality, row.reason or row.state) for row in ledger if row.state != "written")


def write_card(root: Path, recipe: Recipe, ledger: Ledger, decided: Decided, statistics: Mapping[str, Any]) -> Path:
    """Write README.md, the dataset card."""
    path = root / "README.md"
    temporary = path.with_name(".README.md.tmp")
    temporary.write_text(card_text(recipe, ledger, decided, statistics), encoding="utf-8")
    temporary.replace(path)
    return path


def card_text(recipe: Recipe, ledger: Ledger, decided: Decided, statistics: Mapping[str, Any]) -> str:
    """Return the dataset card: what is in it, where it comes from, what is missing, under what terms."""
    placed = [sample for sample in decided.samples if decided.places[sample.id].shard]
    lines = [
        f"# {recipe.name}",
        "",
        f"{len(placed)} patches of {recipe.patch_size} × {recipe.patch_size} px at {recipe.resolution:g} m, "
        f"{sum(sample.is_annotated for sample in placed)} of them with an annotated event, "
        f"in the {recipe.layout} layout. Made by sen12-pipeline.",
        "",
        "## Modalities",
        "",
        "| modality | bands | timesteps | patches written | missing |",
        "|---|---|---|---|---|",
        *_modality_lines(recipe, ledger),
        "",
        "## Missing, and why",
        "",
        *_missing_lines(ledger),
        "",
        "## Statistics over valid pixels",
        "",
        "| modality | band | count | mean | std | min | max |",
        "|---|---|---|---|---|---|---|",
        *_statistics_lines(statistics),
        "",
        "## Sources",
        "",
        *_source_lines(decided),
        "",
        "## Values",
        "",
        "- S2L2A: int16, reflectance = value / 10000; the offset of processing baseline 04.00 and later is removed; "
        f"{S2_NODATA} is no data (scene classification 0).",
        "- cloud_mask: derived from the scene classification, see its attributes; not a cloud model's output.",
        "- S1ASC, S1DSC, S1RTC: float32 dB of terrain-corrected gamma nought; NaN is no data.",
        "- DEM: float32 m; NaN is no data. MASK: 1 where a landslide polygon touches the pixel.",
        "- `time_` is NaT and `file_id` empty where a timestep is missing; ledger.parquet says why.",
        "",
        "## Licence and attribution",
        "",
        _attribution(decided),
        "Copernicus Sentinel data are free and open under the Copernicus data terms. Copernicus DEM: © DLR e.V. "
        "2010-2014 and © Airbus Defence and Space GmbH 2014-2018, provided under COPERNICUS by the European Union "
        "and ESA; all rights reserved. The inventory keeps its own licence.",
        "",
    ]
    return "\n".join(lines)


def _modality_lines(recipe: Recipe, ledger: Ledger) -> list[str]:
    written = Counter(row.modality for row in ledger if row.state == "written")
    total = Counter(row.modality for row in ledger)
    lines = []
    for name in recipe.modalities:
        if not total[name]:
            lines.append(f"| {name} | – | – | not in this dataset: the source has no such scene | – |")
            continue
        bands = ", ".join(recipe.bands_of(name))
        gap = total[name] - written[name]
        lines.append(f"| {name} | {bands} | {recipe.timesteps_of(name)} | {written[name]} | {gap} |")
    return lines


def _missing_lines(ledger: Ledger) -> list[str]:
    counts = missing_counts(ledger)
    if not counts:
        return ["Nothing."]
    return [
        f"- {modality}: {count} × {reason} ({REASONS.get(reason, 'see ledger.parquet')})"
        for (modality, reason), count in sorted(counts.items())
    ]


def _statistics_lines(statistics: Mapping[str, Any]) -> list[str]:
    return [
        f"| {modality} | {band} | {_numbers(values)} |"
        for modality, bands in statistics.items()
        for band, values in bands.items()
    ]


def _numbers(values: Mapping[str, Any]) -> str:
    if not values["count"]:
        return "0 | – | – | – | –"
    return " | ".join([str(values["count"]), *(f"{values[key]:.4g}" for key in ("mean", "std", "min", "max"))])


def _source_lines(decided: Decided) -> list[str]:
    counts = Counter((scene.product, scene.collection) for scene in decided.scenes)
    lines = []
    for (product, collection), count in sorted(counts.items()):
        days = [scene.acquired for scene in decided.scenes if scene.collection == collection]
        lines.append(
            f"- {product}: collection `{collection}`, {count} scenes, {min(days):%Y-%m-%d} to {max(days):%Y-%m-%d}"
        )
    rules = Counter((s.baseline, s.offset, s.offset_rule) for s in decided.scenes if s.product == "S2L2A")
    lines += [
        f"- Sentinel-2 baseline {baseline or 'not stated'}: {count} scenes, {offset} added ({rule})"
        for (baseline, offset, rule), count in sorted(rules.items())
    ]
    return lines


def _attribution(decided: Decided) -> str:
    years = sorted({scene.acquired.year for scene in decided.scenes if scene.product in {"S2L2A", "S1"}})
    return ATTRIBUTION.format(years=", ".join(map(str, years)) or "of unknown year")
