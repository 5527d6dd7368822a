"""Datasets from Earth Engine against the same from files: pixels, limits, interruptions, and what must not show."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from calendar import timegm
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from support.earth_engine.account import KEY_ID, private_key
from support.earth_engine.algorithms import Catalogue
from support.earth_engine.catalogue import catalogue_of
from support.earth_engine.fixtures import Serve
from support.earth_engine.objects import Band, Grid, Image, Pixels
from support.earth_engine.server import ALLOWANCE, Emulator, Fault
from support.orders import shard_digests

from pipeline import open_shard
from pipeline.archive import Archive, SeasonalArchive
from pipeline.cli import main
from pipeline.sources.earth_engine import packing, usage
from pipeline.sources.earth_engine.collections import parse_href

pytest_plugins = ["support.earth_engine.fixtures"]

RECIPE = (
    "series_length=3", "window.before=30", "window.after=30", "samples_per_shard=4", "places.negatives=0",
    "patch_size=64", "modalities=[S2L2A,SCL,S1ASC,DEM,MASK]", "bands.S2L2A=[B01,B02,B05,B12]",
    "series.radar=footprint",
)  # fmt: skip


def arguments(archive: Archive, source: str, out: Path, *more: str, command: str = "build") -> list[str]:
    sets = [part for override in RECIPE for part in ("--set", override)]
    return [
        command,
        "landslides",
        "--places",
        str(archive.inventory),
        "--source",
        source,
        "--out",
        str(out),
        *sets,
        *more,
    ]


def values(path: Path) -> NDArray[np.generic]:
    return np.asarray(open_shard(path).bands.values)


def assert_same_pixels(theirs: Path, ours: Path) -> None:
    files = sorted(path.relative_to(theirs) for path in theirs.rglob("*.zarr.zip"))
    assert files == sorted(path.relative_to(ours) for path in ours.rglob("*.zarr.zip"))
    for file in files:
        expected, got = values(theirs / file), values(ours / file)
        assert got.dtype == expected.dtype
        if file.parts[1].startswith("S1"):
            np.testing.assert_allclose(got, expected, rtol=3e-7 if got.dtype == np.float32 else 2e-3, err_msg=str(file))
        else:
            np.testing.assert_array_equal(got, expected, err_msg=str(file))


@pytest.fixture(scope="module")
def from_files(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("files") / "dataset"
    assert main(arguments(archive, str(archive.catalog), out)) == 0
    return out


@pytest.fixture
def limited(serve_earth: Serve, earth_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A server and a program that agree on eight requests at once."""
    monkeypatch.setenv("EE_MAX_REQUESTS", "8")
    with serve_earth(earth_catalogue, limit=8) as emulator:
        yield emulator


def test_the_same_places_give_the_same_plan_and_pixels(
    limited: Emulator, archive: Archive, from_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    assert main(arguments(archive, "earth-engine", out)) == 0
    assert_same_pixels(from_files, out)

    columns = ["sample_id", "acquisition", "nodata", "cloud", "shadow", "snow"]
    surveys = [pd.read_parquet(root / "survey.parquet")[columns] for root in (from_files, out)]
    pd.testing.assert_frame_equal(*surveys, check_exact=True)

    plan = pd.read_parquet(out / "ledger.parquet")
    read = plan[~plan.modality.isin(["MASK"]) & (plan.state == "written")]
    assert (read.groupby(["sample_id", "modality"]).timestep.nunique() > 1).any()
    # All dates of a patch in one request; the classification came with the reflectance.
    patches = read[["sample_id", "modality"]].drop_duplicates()
    assert limited.computed["computePixels"] == int((patches.modality != "SCL").sum())
    # Three searches, and one request that scores every date of every place.
    assert limited.computed["computeFeatures"] == 4
    assert f"forecast: at most {len(patches)} requests" in capsys.readouterr().out
    assert limited.refused == []


def with_gaps(archive: Archive, folder: Path) -> Path:
    """A copy of the archive's radar whose every second frame lacks stripes, and so parts of patches."""
    shutil.copytree(archive.catalog.parent / "sentinel-1-rtc", folder / "sentinel-1-rtc")
    links = [{"rel": "child", "href": "./sentinel-1-rtc/collection.json"}]
    catalog = folder / "catalog.json"
    catalog.write_text(json.dumps({"type": "Catalog", "id": "gaps", "stac_version": "1.0.0", "links": links}))
    for number, path in enumerate(sorted(folder.rglob("*vv*.tiff"))[::2]):
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            power = dataset.read(1)
            stripes = (np.arange(dataset.width) // 50 + number) % 6 == 0
            power[:, stripes] = dataset.nodata if number % 2 else 0.0
            dataset.write(power, 1)
    return catalog


def test_radar_is_measured_on_the_server_and_chosen_alike(serve_earth: Serve, archive: Archive, tmp_path: Path) -> None:
    catalog = with_gaps(archive, tmp_path / "stac")
    surveys, plans = [], []
    with serve_earth(catalogue_of(catalog)) as emulator:
        for source in (str(catalog), "earth-engine"):
            out = tmp_path / Path(source).stem
            wanted = ["--set", "series.radar=measured", "--set", "modalities=[S1ASC,S1DSC]"]
            assert main(arguments(archive, source, out, *wanted, command="plan")) == 0
            columns = ["sample_id", "acquisition", "nodata", "dark"]
            surveys.append(pd.read_parquet(out / "survey.parquet", columns=columns))
            rows = pd.read_parquet(out / "plan.parquet").itertuples()
            plans.append([(row.sample_id, row.modality, (row.choice or {}).get("acquisition")) for row in rows])
        # One search, and one request that measures every pass over every place.
        assert emulator.computed == {"computeFeatures": 2}
    assert ((surveys[0].nodata > 0.05) & (surveys[0].nodata < 1.0)).any()
    pd.testing.assert_frame_equal(*surveys, check_exact=True)
    assert plans[0] == plans[1]


def test_the_dataset_says_how_it_differs(limited: Emulator, archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    assert main(arguments(archive, "earth-engine", out)) == 0
    card = (out / "README.md").read_text()
    assert "sigma nought of ground range products, without radiometric terrain correction" in card
    assert "gamma nought, ascending" not in card
    assert "0 added (S2_SR_HARMONIZED)" in card
    attributes = open_shard(min((out / "all/S1ASC").glob("*.zip"))).bands.attrs
    assert attributes["quantity"].startswith("sigma nought on the ellipsoid")
    assert "clamped" in open_shard(min((out / "all/S2L2A").glob("*.zip"))).bands.attrs["note"]
    assert main(["validate", str(out)]) == 0


def test_a_plan_says_what_it_will_cost_before_a_pixel_is_fetched(
    limited: Emulator, archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(archive, "earth-engine", tmp_path / "dataset", command="plan")) == 0
    assert limited.requests["computePixels"] == 0
    printed = capsys.readouterr().out
    assert "EECU hours" in printed
    assert main(arguments(archive, "earth-engine", tmp_path / "dataset", "--resume")) == 0
    ledger = pd.read_parquet(tmp_path / "dataset" / "ledger.parquet")
    classes = ledger[(ledger.modality == "SCL") & (ledger.state == "written")].sample_id.nunique()
    assert f"forecast: at most {limited.computed['computePixels'] + classes} requests" in printed


@pytest.mark.servers
def test_three_worker_processes_share_one_limit(
    limited: Emulator, archive: Archive, from_files: Path, tmp_path: Path
) -> None:
    limited.latency = 0.05
    out = tmp_path / "dataset"
    assert main(arguments(archive, "earth-engine", out, "--workers", "3")) == 0
    assert limited.refused == []
    assert 4 <= limited.peak <= 8
    assert_same_pixels(from_files, out)


def test_an_allowance_that_runs_out_stops_the_build_and_it_goes_on_to_the_same_bytes(
    limited: Emulator, archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "dataset"
    assert main(arguments(archive, "earth-engine", whole)) == 0
    needed = limited.computed["computePixels"]
    limited.allowance = 4 + needed // 2
    assert main(arguments(archive, "earth-engine", out)) == 1
    assert "compute allowance is used up" in capsys.readouterr().err
    assert limited.refused
    assert set(limited.refused) == {ALLOWANCE}
    # Requests that were under way end; nobody asks again.
    assert len(limited.refused) <= 8
    held, expected = shard_digests(out), shard_digests(whole)
    assert held.items() < expected.items()
    limited.allowance = None
    usage.forget_quota()
    before = limited.computed["computePixels"]
    assert main(arguments(archive, "earth-engine", out, "--resume")) == 0
    assert shard_digests(out) == expected
    assert limited.computed["computePixels"] - before < needed


@pytest.mark.servers
def test_restricted_mode_stops_the_build(
    limited: Emulator, archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited.faults.append(Fault(header=("x-earth-engine-quota-status", "parallelism_restricted=true")))
    assert main(arguments(archive, "earth-engine", tmp_path / "dataset")) == 1
    assert "has restricted the project" in capsys.readouterr().err
    usage.forget_quota()
    assert main(arguments(archive, "earth-engine", tmp_path / "dataset", "--resume")) == 0


@pytest.mark.servers
def test_a_killed_build_goes_on_to_the_same_bytes(limited: Emulator, archive: Archive, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "dataset"
    assert main(arguments(archive, "earth-engine", whole)) == 0
    limited.latency = 0.1
    command = [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(
        [*command, *arguments(archive, "earth-engine", out)], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while len(list(out.rglob("*.zarr.zip"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(20)
    limited.latency = 0.0
    assert 0 < len(shard_digests(out)) < len(shard_digests(whole))
    assert main(arguments(archive, "earth-engine", out, "--resume")) == 0
    assert shard_digests(out) == shard_digests(whole)


def test_no_credential_is_in_any_output(
    limited: Emulator, archive: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    limited.tokens = set()
    out = tmp_path / "dataset"
    limited.faults += [Fault(status=503), Fault(status=429, message="Quota exceeded")]
    assert main(["-v", *arguments(archive, "earth-engine", out)]) == 0
    printed = capfd.readouterr()
    searched = {"stdout": printed.out.encode(), "stderr": printed.err.encode()}
    searched |= {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(searched) > 20
    for secret in (KEY_ID, "emulated-token", "PRIVATE KEY", private_key().splitlines()[5], "account.json"):
        assert [name for name, content in searched.items() if secret.encode() in content] == []


@pytest.mark.servers
def test_cloud_score_tells_clouds_when_the_recipe_asks_for_it(
    limited: Emulator, archive: Archive, from_files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    score = "collections.CLOUDS=GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"
    assert main(arguments(archive, "earth-engine", out, "--set", score, command="plan")) == 0
    ours, theirs = (pd.read_parquet(root / "survey.parquet") for root in (out, from_files))
    # The emulated score is low exactly where the classification has cloud or shadow.
    np.testing.assert_allclose(ours.cloud, theirs.cloud + theirs.shadow, atol=1e-12)
    assert (ours.shadow == 0).all()
    np.testing.assert_array_equal(ours.nodata, theirs.nodata)


def test_land_cover_is_that_of_the_nearest_year(
    serve_earth: Serve, earth_catalogue: Catalogue, archive: Archive, tmp_path: Path
) -> None:
    collection, world = "MODIS/061/MCD12Q1", shapely.box(-180, -90, 180, 90)

    def year(number: int, code: int) -> Image:
        def pixels(grid: Grid) -> Pixels:
            rows, columns = np.indices(grid.shape)
            # The first class number is 0, which only the mask tells from no data.
            return ((rows + code) % 17).astype(np.uint8), columns >= 8

        stated = {"system:index": f"{number}_01_01", "system:time_start": 1000 * timegm((number, 1, 1, 0, 0, 0))}
        return Image({"LC_Type1": Band(pixels)}, stated, world, f"{collection}/{number}_01_01")

    images = [year(2019, 1), year(2022, 5), year(2023, 9)]
    out = tmp_path / "dataset"
    with serve_earth({**earth_catalogue, collection: images}):
        wanted = ("--set", "modalities=[S2L2A,LULC]")
        assert main(arguments(archive, "earth-engine", out, *wanted)) == 0
    got = values(min((out / "all/LULC").glob("*.zip")))
    assert got.dtype == np.uint8
    expected = np.broadcast_to((np.arange(64)[:, None] + 5) % 17, got.shape[-2:]).copy()
    expected[:, :8] = 255
    np.testing.assert_array_equal(got, np.broadcast_to(expected, got.shape))
    assert main(["validate", str(out)]) == 0
    assert f"collection `{collection}`" in (out / "README.md").read_text()


def test_land_cover_is_refused_for_catalogues_of_files(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--set", "modalities=[S2L2A,LULC]")
    assert main(arguments(archive, str(archive.catalog), tmp_path / "dataset", *wanted)) == 2
    assert "LULC comes from --source earth-engine only" in capsys.readouterr().err


@pytest.mark.servers
def test_the_seasonal_recipe_gives_both_levels_bit_for_bit(
    serve_earth: Serve, seasonal_archive: SeasonalArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = seasonal_archive
    request = ["build", "ssl4eo-s12", "--places", str(archive.places), "--set", "samples_per_shard=8"]
    theirs, ours = tmp_path / "files", tmp_path / "earth"
    assert main([*request, "--source", str(archive.catalog), "--out", str(theirs)]) == 0
    with serve_earth(catalogue_of(archive.catalog)) as emulator:
        assert main([*request, "--source", "earth-engine", "--out", str(ours)]) == 0
        assert emulator.refused == []
    assert_same_pixels(theirs, ours)


@pytest.mark.servers
def test_an_image_that_is_gone_leaves_the_same_receipts_as_requests_of_one_date(
    serve_earth: Serve, earth_catalogue: Catalogue, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs, requests = [tmp_path / "alone", tmp_path / "together"], []
    for out, stacked in zip(outs, (1, packing.MOST_STACKED), strict=True):
        monkeypatch.setattr(packing, "MOST_STACKED", stacked)
        with serve_earth(earth_catalogue) as emulator:
            assert main(arguments(archive, "earth-engine", out, command="plan")) == 0
            plan = pd.read_parquet(out / "plan.parquet")
            chosen = plan[plan.modality == "S2L2A"].choice.dropna().map(lambda choice: choice["assets"][0]["hrefs"][0])
            gone = parse_href(chosen.mode()[0]).assets[0]
            emulator.catalogue = {
                name: [image for image in images if image.id != gone] for name, images in earth_catalogue.items()
            }
            assert main(arguments(archive, "earth-engine", out, "--resume")) == 0
            requests.append(emulator.computed["computePixels"])
    assert requests[1] < requests[0]
    assert len(pd.read_parquet(outs[0] / "unreadable.parquet")) > 0
    assert shard_digests(outs[0]) == shard_digests(outs[1])
    ledgers = [pd.read_parquet(out / "ledger.parquet").drop(columns=["seconds"], errors="ignore") for out in outs]
    pd.testing.assert_frame_equal(*ledgers)
