"""The dataset card: what is in a dataset, where it comes from, what is missing and why, under what terms."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.catalog.built import REJECTED, Ledger
from pipeline.catalog.decided import Decided
from pipeline.records import MODALITIES, S2_NODATA, Recipe, Sample
from pipeline.sources.earth_engine.parity import notes_on

OPTICAL = ("S2L2A", "S2L1C")

ATTRIBUTION = "Contains modified Copernicus Sentinel data {years}."

REASONS: Mapping[str, str] = {
    "no_scene": "no acquisition reaches the patch in the window",
    "too_cloudy": "every acquisition in the window hides more of the patch than the recipe allows",
    "series_short": "fewer usable acquisitions than the series has places",
    "no_image_before": "no usable image before the event",
    "no_image_after": "no usable image after the event",
    "gap_too_long": "two images of the series would lie further apart than the recipe allows",
    "no_coverage": "the source has no data of this kind here",
    "no_pair": "no radar near enough in time to the optical image",
    "too_much_missing": "more of the patch lacks data than the recipe allows",
    "left_out": "the place is in no file, because other images of it are missing",
    "unreadable": "the scene, or its classification, cannot be read, and no other is left that could stand in",
    "empty": "the scene has no valid pixel in the patch",
    "unreachable": "the source did not answer for long, and mirrors were asked instead",
    "undated_event": "a landslide without a usable date reaches into the patch, so its mask would be wrong",
    "bad_date": "the date is missing, impossible, not YYYY-MM-DD or contradicted by its own interval",
    "no_geometry": "the geometry is null or empty",
    "invalid_geometry": "the geometry is no valid polygon on the globe",
    "duplicate": "another event covers the same ground on the same day",
    "region_name_taken": "two regions of the inventory would give their patches the same names",
    "outside_source": "the source has no scene over the event in its window",
}


TABLES = (
    "- samples.parquet, events.parquet, scenes.parquet: the places and the file that holds each, the inventory's "
    "polygons, the source's scenes and their references.",
    "- labels.parquet: every event of every patch, its date and interval, the part of it inside the patch [m], "
    "and the timesteps of the last image before it and the first after it (-1: none).",
    "- frames.parquet: every stored image, its products, time, orbit, baseline and offset, clouds and gaps.",
    "- ledger.parquet: every patch that was asked for, written or missing and why.",
    "- survey.parquet, plan.parquet: clouds of every candidate, and what was chosen.",
    "- metadata/: stored images in the columns of SSL4EO-S12 v1.1.",
)
"""What the tables beside the files hold, as the card says it."""


def missing_counts(ledger: Ledger) -> Counter[tuple[str, str]]:
    """Return how many patches are not there, by modality and reason."""
    return Counter((row.modality, row.reason or row.state) for row in ledger if row.state not in {"written", REJECTED})


def rejected_lines(ledger: Ledger) -> list[str]:
    """Return one line for each reason that events are rejected for, with how many there are and the first one."""
    events: dict[str, list[str]] = {}
    for row in ledger:
        if row.state == REJECTED:
            events.setdefault(row.reason, []).append(f"event {row.event_id}: {row.detail}")
    return [
        f"{len(found)} {'event' if len(found) == 1 else 'events'} × {reason}: "
        f"{REASONS.get(reason, 'see ledger.parquet')} (first: {found[0]})"
        for reason, found in sorted(events.items())
    ]


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
        f"{_annotated(placed)}"
        f"in the {recipe.layout} layout. Made by sen12-pipeline.",
        "",
        f"{recipe.samples_per_shard} patches a file; the last file of a folder may hold fewer.",
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
        *_replaced_lines(ledger),
        *_rejected_lines(ledger),
        "## Statistics over valid pixels",
        "",
        "| modality | band | count | mean | std | min | max |",
        "|---|---|---|---|---|---|---|",
        *_statistics_lines(statistics),
        "",
        "## Sources",
        "",
        *_source_lines(decided),
        *_mirror_lines(ledger, decided),
        "",
        "## Values",
        "",
        *_value_lines(recipe, decided),
        "- `time_` is NaT and `file_id` empty where a timestep is missing; ledger.parquet says why.",
        "",
        "## Tables",
        "",
        *TABLES,
        "",
        "## Licence and attribution",
        "",
        _attribution(decided),
        "Copernicus Sentinel data are free and open under the Copernicus data terms. Copernicus DEM: © DLR e.V. "
        "2010-2014 and © Airbus Defence and Space GmbH 2014-2018, provided under COPERNICUS by the European Union "
        "and ESA; all rights reserved. The inventory keeps its own licence.",
        *(f"{name}: {recipe.own_modalities[name].attribution}" for name in _attributed(recipe)),
        *(["Copies from mirrors are the same products under the same terms."] if decided.mirrors else []),
        "",
    ]
    return "\n".join(lines)


def _attributed(recipe: Recipe) -> list[str]:
    return [name for name, own in recipe.own_modalities.items() if name in recipe.modalities and own.attribution]


def _annotated(placed: Sequence[Sample]) -> str:
    count = sum(sample.is_annotated for sample in placed)
    return f"{count} of them with an annotated event, " if count else ""


def _value_lines(recipe: Recipe, decided: Decided) -> list[str]:
    collections = {scene.collection for scene in decided.scenes}
    reflectance = f"(value - {recipe.offset}) / 10000" if recipe.offset else "value / 10000"
    optical = (
        f"int16, reflectance = {reflectance}; the offset that products carry since processing baseline 04.00 is "
        f"removed{f' and {recipe.offset} added to all alike' if recipe.offset else ''}; {S2_NODATA} is no data"
    )
    lines = {
        "S2L2A": f"{optical} (scene classification 0). `cloud_mask` is derived from the scene classification, see its "
        "attributes; it is not a cloud model's output.",
        "S2L1C": f"{optical} (scene classification of the Level-2A partner 0).",
        "S2RGB": "uint8 picture of S2L2A; the reflectance that became 0 and 255 is in the metadata (`rgb_low`, "
        "`rgb_high`, times 10000); 0 is no data.",
        "S1GRD": f"float16 dB of {_radar(collections, ', in place of sigma nought')}; NaN is no data; the pass "
        f"nearest in time, at most {recipe.pairing.max_gap} days away.",
        "S1ASC": f"float32 dB of {_radar(collections)}, ascending passes; NaN is no data.",
        "S1DSC": f"float32 dB of {_radar(collections)}, descending passes; NaN is no data.",
        "S1RTC": f"float32 dB of {_radar(collections)}, pass direction not stated; NaN is no data.",
        "DEM": "float32 m; NaN is no data.",
        "LULC": "uint8 land cover classes of the collection below, of the year nearest to the place's date; 255 is no "
        "data.",
        "SCL": "uint8 scene classification; 0 is no data.",
        "MASK": "uint8, 1 where a landslide polygon touches the pixel.",
        "MASK_FRACTION": "float32, share of the pixel inside landslide polygons.",
        "MASK_SERIES": "uint8 at the times of the Sentinel-2 images (without them, of the first series): 1 where a "
        "landslide that touches the pixel had come down, 0 where none had, 255 where the image is of its day or within "
        "the interval of its date, and where the image is missing.",
    }
    lines |= {name: _own_line(name, recipe) for name in recipe.own_modalities}
    described = [f"- {name}: {lines[name]}" for name in recipe.modalities]
    if recipe.max_missing:
        share = f"{recipe.max_missing:.0%}"
        described.append(f"- Gaps of up to {share} of a patch are filled from the nearest valid pixel (`filled`).")
    if recipe.series.policy == "compat":
        described.append("- A series that is too short repeats its last image (`is_padding` in the ledger).")
    return [*described, *(f"- {note}" for note in notes_on(collections))]


def _own_line(name: str, recipe: Recipe) -> str:
    own, size = recipe.own_modalities[name], recipe.size_of(name)
    when = {
        "date": "the image nearest to the place's date" if not own.is_undated or own.joined == "day" else "undated",
        "frames": f"the image nearest to each Sentinel-2 image, at most {own.max_gap} days away",
        "series": "a series of its own",
    }[own.time]
    hidden = (
        f", where none of the bits {', '.join(map(str, own.mask.bits))} of {own.mask.band} is set" if own.mask else ""
    )
    nodata = "NaN" if own.nodata is None else own.nodata
    return (
        f"{own.dtype}, {own.quantity} (unit {own.unit}), of `{own.collection}`, {size} × {size} px at "
        f"{recipe.resolution_of(name):g} m, {own.resampling}; {when}{hidden}; {nodata} is no data."
    )


def _radar(collections: Collection[str], remark: str = "") -> str:
    if any(collection.startswith("COPERNICUS/S1_GRD") for collection in collections):
        return "sigma nought, not corrected for terrain"
    return f"terrain-corrected gamma nought{remark}"


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


LABELS = frozenset(name for name, modality in MODALITIES.items() if modality.product == "LABELS")


def replaced_counts(ledger: Ledger) -> Counter[tuple[str, str]]:
    """Return how many images stand in for one that proved of no use, by modality and reason; labels are no images."""
    return Counter(
        (row.modality, row.first_fault or "chosen anew beside one")
        for row in ledger
        if row.state == "written" and row.first_choice not in {"", row.acquisition} and row.modality not in LABELS
    )


def provider_counts(ledger: Ledger) -> dict[str, Counter[str]]:
    """Return how many patches were read from each provider, by modality, labels apart."""
    counts: dict[str, Counter[str]] = {}
    for row in ledger:
        if row.state == "written" and row.source and row.modality not in LABELS:
            counts.setdefault(row.source, Counter())[row.modality] += 1
    return counts


def _replaced_lines(ledger: Ledger) -> list[str]:
    counts = replaced_counts(ledger)
    if not counts:
        return []
    text = (
        "Images that stand in for one that was planned first and proved of no use when it was read; the ledger has "
        "both (`acquisition`, `first_choice`), unreadable.parquet what was found."
    )
    lines = [f"- {modality}: {count} × {fault}" for (modality, fault), count in sorted(counts.items())]
    return ["## Replaced images", "", text, "", *lines, ""]


def _rejected_lines(ledger: Ledger) -> list[str]:
    lines = rejected_lines(ledger)
    if not lines:
        return []
    text = "Rows of the inventory that no patch is built for; rejected.parquet has all of them."
    return ["## Rejected events", "", text, "", *(f"- {line}" for line in lines), ""]


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
    rules = Counter((s.product, s.baseline, s.offset, s.offset_rule) for s in decided.scenes if s.product in OPTICAL)
    lines += [
        f"- {product} baseline {baseline or 'not stated'}: {count} scenes, {offset} added ({rule})"
        for (product, baseline, offset, rule), count in sorted(rules.items())
    ]
    return lines


def _mirror_lines(ledger: Ledger, decided: Decided) -> list[str]:
    """Return how many patches came from which provider, where mirrors are named; and what copies of theirs are."""
    if not decided.mirrors:
        return []
    counts = provider_counts(ledger)
    lines = []
    for name in (decided.source, *decided.mirrors):
        held = counts.get(name, Counter())
        read = ", ".join(f"{count} {modality}" for modality, count in held.items()) or "nothing"
        lines.append(f"- {'source' if name == decided.source else 'mirror'} `{name}`: {read} read from it")
    used = {(row.choice.source, asset.scene_id) for row in decided.rows if row.choice for asset in row.choice.assets}
    copies = [c for c in decided.copies if c.scene is not None and (c.source, c.scene.id) in used]
    found = Counter((c.source, c.scene.collection, c.scene.baseline) for c in copies if c.scene is not None)
    lines += [
        f"- of mirror `{source}`: collection `{collection}`, baseline {baseline or 'not stated'}, {count} scenes"
        for (source, collection, baseline), count in sorted(found.items())
    ]
    return [*lines, "- Which provider a patch was read from is in the ledger (`source`), and why in `first_fault`."]


def _attribution(decided: Decided) -> str:
    years = sorted({scene.acquired.year for scene in decided.scenes if scene.product in {*OPTICAL, "S1"}})
    return ATTRIBUTION.format(years=", ".join(map(str, years)) or "of unknown year")
