"""An image that cannot be read for good is replaced by the next best one; trouble that passes replaces nothing."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from support.catalogue import (
    EVENT,
    Overpass,
    cell_centre,
    optical_file,
    radar_file,
)
from support.orders import Order, shard_digests
from support.two_slides import (
    AFTER,
    BEFORE,
    CELLS,
    FAR,
    LATE,
    NEAR,
    SERIES,
    SITE,
    TILE,
    Stopped,
    build_with,
    order_of,
    planned,
)

from pipeline import rounds
from pipeline.catalog import Decided, read_decided
from pipeline.errors import TransientSourceError
from pipeline.receipts import STOPPED, load_attempts, load_receipt
from pipeline.validate import validate


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Order:
    return order_of(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def order(whole: Order, tmp_path: Path) -> Order:
    """The same order on a catalogue of its own, to break."""
    shutil.copytree(whole.catalogue.parent, tmp_path / "stac")
    return replace(whole, catalogue=tmp_path / "stac" / whole.catalogue.name)


@pytest.fixture(scope="module")
def undisturbed(whole: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole.build(tmp_path_factory.mktemp("undisturbed") / "dataset")


@pytest.fixture(scope="module")
def without_after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the dataset of a catalogue that never had the image after the event."""
    folder = tmp_path_factory.mktemp("without")
    site = replace(SITE, overpasses=(FAR, BEFORE, LATE))
    return shard_digests(order_of(folder, site).build(folder / "dataset"))


def optical(order: Order, overpass: Overpass, band: str = "B05") -> Path:
    return optical_file(order.catalogue, TILE, overpass, band)


def ledger_of(root: Path) -> list[dict[str, object]]:
    return [row for row in pq.read_table(root / "ledger.parquet").to_pylist() if row["sample_id"]]


def days(root: Path, modality: str) -> dict[str, list[object]]:
    """Sample to the days after the event of its images, or the reasons of its gaps, in the order of the files."""
    held: dict[str, list[object]] = {}
    for row in read_decided(root).rows:
        if row.modality == modality:
            day = (row.choice.acquired - EVENT).days if row.choice else row.reason
            held.setdefault(row.sample_id, []).append(day)
    return held


def delete(file: Path) -> None:
    file.unlink()


def garble(file: Path) -> None:
    file.write_bytes(b"\0" * 4096)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def take_projection(file: Path) -> None:
    with rasterio.open(file) as raster:
        values, dtype = raster.read(1), raster.dtypes[0]
    height, width = values.shape
    with rasterio.open(file, "w", driver="GTiff", width=width, height=height, count=1, dtype=dtype) as raster:
        raster.write(values, 1)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "breakage", [delete, pytest.param(garble, marks=SLOW), pytest.param(cut, marks=SLOW), take_projection]
)
def test_the_next_best_image_stands_in_as_if_the_broken_one_had_never_been(
    order: Order, without_after: dict[str, str], tmp_path: Path, breakage: Callable[[Path], None]
) -> None:
    out = planned(order, tmp_path / "dataset")
    breakage(optical(order, AFTER))
    order.build(out, "--resume")
    assert shard_digests(out) == without_after
    for modality in SERIES:
        assert set(map(tuple, days(out, modality).values())) == {(-10, 20)}
    assert validate(out) == []


def test_ledger_receipts_card_and_a_table_say_what_was_replaced_and_why(order: Order, tmp_path: Path) -> None:
    out = planned(order, tmp_path / "dataset")
    first = {row.sample_id: row.choice for row in read_decided(out).rows if (row.modality, row.timestep) == ("SCL", 1)}
    optical(order, AFTER).unlink()
    order.build(out, "--resume")
    gone = pq.read_table(out / "unreadable.parquet").to_pylist()
    assert [(row["sample_id"], row["product"], row["modality"], row["reason"]) for row in gone] == [
        (name, "S2L2A", "S2L2A", "unreadable") for name in sorted(first)
    ]
    assert {row["acquisition"] for row in gone} == {choice.acquisition for choice in first.values()}
    assert all("B05.tif cannot be read" in row["detail"] for row in gone)
    for row in ledger_of(out):
        replaced = row["modality"] in SERIES and row["timestep"] == 1
        assert row["state"] == "written"
        assert row["first_choice"] == (first[row["sample_id"]].acquisition if replaced else "")
        assert row["first_fault"] == ("unreadable" if replaced else "")
        assert ("cannot be read" in row["detail"]) == replaced
    receipts = [load_receipt(path) for path in (out / "receipts").rglob("S2L2A/*.json")]
    assert [[patch.first_fault for patch in receipt.patches] for receipt in receipts] == [["", "unreadable"]] * 2
    assert "- S2L2A: 2 × unreadable" in (out / "README.md").read_text().split("## Replaced images")[1]


def test_only_what_changes_is_built_again(order: Order, tmp_path: Path) -> None:
    out = planned(order, tmp_path / "dataset")
    optical(order, AFTER).unlink()
    built: list[str] = []
    build_with(out, order, lambda href: href, built.append)
    counts = {name: built.count(name) for name in set(built)}
    assert {name for name, count in counts.items() if count == 2} == {
        name for name in counts if name.split("/")[1] in SERIES
    }
    assert set(counts.values()) == {1, 2}


def test_two_images_can_be_lost_one_after_the_other_and_then_the_place_stays_empty(
    order: Order, tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    for overpass in (AFTER, LATE, FAR):
        optical(order, overpass).unlink()
    order.build(out, "--resume")
    # An image from before the event does not fill a place that is kept for one after it, and is not even read.
    for modality in SERIES:
        assert set(map(tuple, days(out, modality).values())) == {(-10, "unreadable")}
    rows = [row for row in ledger_of(out) if row["modality"] in SERIES and row["timestep"] == 1]
    assert {(row["state"], row["reason"]) for row in rows} == {("missing", "unreadable")}
    assert len(pq.read_table(out / "unreadable.parquet")) == 4
    assert set(map(tuple, days(out, "S1ASC").values())) == {(-5, 9)}
    assert validate(out) == []


def test_radar_that_turns_out_empty_over_one_patch_is_replaced_there_alone(order: Order, tmp_path: Path) -> None:
    order = order.with_overrides("series_length=1")
    out = planned(order, tmp_path / "dataset")
    assert set(map(tuple, days(out, "S1ASC").values())) == {(-5,)}
    border = cell_centre(*CELLS[0])[0] - 160.0
    for frame in (0, 1):
        for band in ("vv", "vh"):
            path = radar_file(order.catalogue, NEAR, frame, band)
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
                values = raster.read(1)
                values[:, : round((border - raster.transform.c) / 10)] = np.float32(raster.nodata)
                raster.write(values, 1)
    order.build(out, "--resume")
    samples = {sample.id: sample.lattice_x for sample in read_decided(out).samples}
    found = {samples[name]: held for name, held in days(out, "S1ASC").items()}
    assert found == {1252: [-5], 1251: [9]}
    (gone,) = read_decided(out).unreadable
    assert (samples[gone.sample_id], gone.reason) == (1251, "empty")
    assert validate(out) == []


def test_without_alternates_the_place_stays_empty(order: Order, undisturbed: Path, tmp_path: Path) -> None:
    order = order.with_overrides("alternates=0")
    out = planned(order, tmp_path / "dataset")
    optical(order, AFTER).unlink()
    order.build(out, "--resume")
    assert not (out / "unreadable.parquet").exists()
    assert {(row["modality"], row["reason"]) for row in ledger_of(out) if row["state"] == "missing"} == {
        ("S2L2A", "unreadable")
    }
    expected = {path: digest for path, digest in shard_digests(undisturbed).items() if "/S2L2A/" not in path}
    assert expected.items() <= shard_digests(out).items()


def test_a_whole_catalogue_needs_no_such_table(undisturbed: Path) -> None:
    assert not (undisturbed / "unreadable.parquet").exists()
    assert {row["attempts"] for row in ledger_of(undisturbed)} == {1}
    assert not list(undisturbed.rglob("*.attempts"))
    assert "## Replaced images" not in (undisturbed / "README.md").read_text()


def stop_before_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run when the table of unreadable images is written and the plan is not."""

    def half(root: Path, decided: Decided) -> None:
        plan = (root / "plan.parquet").read_bytes()
        write(root, decided)
        (root / "plan.parquet").write_bytes(plan)
        raise Stopped

    write = rounds.write_replanned
    monkeypatch.setattr(rounds, "write_replanned", half)


def stop_after_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def then_stop(root: Path, decided: Decided) -> None:
        write(root, decided)
        raise Stopped

    write = rounds.write_replanned
    monkeypatch.setattr(rounds, "write_replanned", then_stop)


def stop_within_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run while the third file of the second round is put together."""
    seen: list[str] = []

    def until(shard, *arguments):
        seen.append(shard.path)
        if seen.count(shard.path) == 2 and len(seen) - len(set(seen)) == 3:
            raise Stopped
        return paint(shard, *arguments)

    paint = rounds.build_shard.__globals__["_build"]
    monkeypatch.setitem(rounds.build_shard.__globals__, "_build", until)


@pytest.mark.parametrize(
    "stop", [stop_before_the_plan, pytest.param(stop_after_the_plan, marks=SLOW), stop_within_a_file]
)
def test_wherever_a_run_is_killed_it_goes_on_to_the_same_bytes(
    order: Order, without_after: dict[str, str], tmp_path: Path, stop: Callable[[pytest.MonkeyPatch], None]
) -> None:
    out = planned(order, tmp_path / "dataset")
    optical(order, AFTER).unlink()
    shutil.copytree(out, tmp_path / "whole run")
    order.build(tmp_path / "whole run", "--resume")
    with pytest.MonkeyPatch.context() as patched:
        stop(patched)
        with pytest.raises(Stopped):
            build_with(out, order, lambda href: href)
    found = [str(finding) for finding in validate(out)]
    assert any("does not follow from unreadable.parquet" in line for line in found) == (stop is stop_before_the_plan)
    assert not any("left over" in line for line in found)
    order.build(out, "--resume")
    assert shard_digests(out) == without_after
    for table in ("unreadable.parquet", "plan.parquet", "frames.parquet", "labels.parquet"):
        assert (out / table).read_bytes() == (tmp_path / "whole run" / table).read_bytes(), table
    again = [row["attempts"] for row in ledger_of(out) if row["faults"] == [STOPPED]]
    assert set(again) <= {2}
    assert bool(again) == (stop is stop_within_a_file)
    assert validate(out) == []


def test_while_one_file_is_unfinished_nothing_is_replaced_and_its_attempts_are_counted(
    order: Order, without_after: dict[str, str], tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    optical(order, AFTER).unlink()

    def throttled(href: str) -> str:
        if href.endswith("vh.tif"):
            raise TransientSourceError("radar could not be read now: HTTP response code: 503")
        return href

    reports = build_with(out, order, throttled)
    open_reports = [report for report in reports if report.state != "done"]
    assert {report.path.split("/")[1] for report in open_reports} == {"S1ASC"}
    assert not (out / "unreadable.parquet").exists()
    assert set(map(tuple, days(out, "S2L2A").values())) == {(-10, 10)}
    for report in open_reports:
        note = load_attempts(out / "receipts" / f"{report.path.removesuffix('.zarr.zip')}.attempts")
        assert (note.count, note.faults) == (3, ("radar could not be read now: HTTP response code: 503",) * 3)
        assert (report.attempts, report.faults) == (note.count, note.faults)
    order.build(out, "--resume")
    assert shard_digests(out) == without_after
    receipts = [load_receipt(path) for path in (out / "receipts").rglob("S1ASC/*.json")]
    assert {(receipt.attempts, len(receipt.faults)) for receipt in receipts} == {(4, 3)}
    named = {(row["attempts"], len(row["faults"])) for row in ledger_of(out) if row["modality"] == "S1ASC"}
    assert named == {(4, 3)}
    assert not list(out.rglob("*.attempts"))
    assert json.loads((out / "statistics.json").read_text())


class RangeFiles(SimpleHTTPRequestHandler):
    """Serves files whole or by one range."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range", "")
        if not path.is_file():
            self.send_error(404)
            return
        body = content = path.read_bytes()
        if asked:
            first, last = (int(end) for end in asked.removeprefix("bytes=").split("-"))
            body = content[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def served(order: Order) -> Iterator[Order]:
    """The order on its catalogue behind a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeFiles, directory=str(order.catalogue.parent)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield replace(order, catalogue=f"http://127.0.0.1:{server.server_port}/{order.catalogue.name}")
    server.shutdown()
    server.server_close()
    thread.join(5.0)


def test_a_file_that_is_gone_from_a_server_is_replaced_as_one_that_is_gone_from_disk(
    order: Order, served: Order, without_after: dict[str, str], tmp_path: Path
) -> None:
    out = planned(served, tmp_path / "dataset")
    optical(order, AFTER).unlink()
    served.build(out, "--resume")
    assert shard_digests(out) == without_after
    assert all(image.detail.endswith("404") for image in read_decided(out).unreadable)
    assert validate(out) == []
