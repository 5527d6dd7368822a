"""Statistics equal NumPy's over all pixels at once, whatever the order and the chunks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.chunk_files import BANDS, FILES, change_array, content, name_of

from pipeline.errors import LayoutError, RecipeError
from pipeline.layouts.ssl4eo import write_shard
from pipeline.published import folder_statistics


def pixels(modality: str) -> np.ndarray:
    """(band, pixel) of both files, in double precision."""
    files = [content(modality, samples).bands for samples in FILES.values()]
    return np.concatenate(files).astype(np.float64).transpose(2, 0, 1, 3, 4).reshape(len(BANDS[modality]), -1)


@pytest.mark.parametrize("modality", BANDS)
def test_statistics_are_those_of_numpy(sound, modality):
    found = folder_statistics(sound)[modality]
    assert found["bands"] == list(BANDS[modality])
    np.testing.assert_allclose(found["mean"], pixels(modality).mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(found["std"], pixels(modality).std(axis=1), rtol=1e-13)


def test_statistics_have_the_published_form(sound):
    found = folder_statistics(sound)
    assert sorted(found) == sorted(BANDS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_statistics_do_not_depend_on_order_or_chunks_to_the_last_bit(sound, tmp_path):
    samples = [sample for held in FILES.values() for sample in held]
    parts = {}
    for modality in BANDS:
        both = [content(modality, held).bands for held in FILES.values()]
        parts[modality] = np.concatenate(both)[::-1][:, [2, 0, 3, 1]]
    for modality, bands in parts.items():
        held = content(modality, samples[::-1], "published")
        held.bands[...] = bands
        write_shard(tmp_path / "train" / modality / name_of("000001"), held)
    assert folder_statistics(tmp_path) == folder_statistics(sound)


def test_missing_values_do_not_count(folder):
    path = folder / "train" / "S1GRD" / name_of("000001")
    change_array(path, "bands", lambda values: np.where(values < -13, np.float16(np.nan), values))
    held = pixels("S1GRD")
    first = len(FILES["000001"]) * 4 * 36
    held[:, :first] = np.where(held[:, :first] < -13, np.nan, held[:, :first])
    np.testing.assert_allclose(folder_statistics(folder)["S1GRD"]["mean"], np.nanmean(held, axis=1), rtol=1e-14)
    np.testing.assert_allclose(folder_statistics(folder)["S1GRD"]["std"], np.nanstd(held, axis=1), rtol=1e-13)


def test_a_declared_value_does_not_count(folder):
    for number in FILES:
        path = folder / "train" / "S2RGB" / name_of(number)
        change_array(path, "bands", lambda values: values, attributes={"nodata": 0})
    held = pixels("S2RGB")
    expected = [band[band != 0].mean() for band in held]
    np.testing.assert_allclose(folder_statistics(folder)["S2RGB"]["mean"], expected, rtol=1e-14)


def test_a_band_without_valid_pixels_has_no_statistics(folder):
    for number in FILES:
        path = folder / "train" / "S1GRD" / name_of(number)
        change_array(path, "bands", lambda values: np.full_like(values, np.nan))
    assert folder_statistics(folder)["S1GRD"] == {"bands": ["vv", "vh"], "mean": [None, None], "std": [None, None]}


def test_one_split_is_read(folder):
    shutil.copytree(folder / "train", folder / "val")
    for modality in BANDS:
        (folder / "val" / modality / name_of("000001")).unlink()
    only = content("S2L2A", FILES["000002"]).bands.astype(np.float64)
    np.testing.assert_allclose(
        folder_statistics(folder, "val")["S2L2A"]["mean"], only.mean(axis=(0, 1, 3, 4)), rtol=1e-14
    )
    with pytest.raises(RecipeError, match="has no split test; it has train, val"):
        folder_statistics(folder, "test")


def bad_file(folder: Path, fault: str) -> None:
    path = folder / "train" / "S1GRD" / name_of("000002")
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif fault == "infinite":
        change_array(path, "bands", lambda values: np.where(values > -5, np.float16(np.inf), values))
    else:
        change_array(path, "band", lambda values: values[::-1])


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("truncated", "is not a whole .zarr.zip: File is not a zip file"),
        ("infinite", "holds infinite values in band 0; its mean means nothing"),
        ("other bands", "has bands vh, vv, but .* vv, vh"),
    ],
)
def test_what_cannot_be_counted_is_said_in_one_line(folder, fault, line):
    bad_file(folder, fault)
    with pytest.raises(LayoutError, match=rf"S1GRD/{name_of('000002')} {line}") as raised:
        folder_statistics(folder)
    assert "\n" not in str(raised.value)
