"""What its own provider has no more is read from a mirror: the same image, the same values, and all of it told."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from affine import Affine
from support.catalogue import Overpass, optical_file, radar_file
from support.fault_server import QUIET, FaultServer, Script, fault_server
from support.mirrors import brighten, change_pixels, copied, rename_scenes, reprocess, take_offset
from support.orders import Order, shard_digests
from support.two_slides import AFTER, BEFORE, FAR, LATE, NEAR, SITE, TILE, Stopped, order_of, planned

from pipeline import rounds
from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.receipts import load_receipt
from pipeline.sources import governor, transport, window
from pipeline.validate import validate

BANDS = ("B02", "B05")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for hundredths of seconds where a real run waits for seconds."""
    monkeypatch.setitem(window.GDAL_OPTIONS, "GDAL_HTTP_RETRY_DELAY", 0.01)
    monkeypatch.setattr(transport, "_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(governor, "THROTTLED_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(governor, "LONGEST_WAIT_SECONDS", 0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Order:
    order = order_of(tmp_path_factory.mktemp("whole"))
    brighten(order.catalogue, BANDS)
    return order


@pytest.fixture(scope="module")
def undisturbed(whole: Order, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return shard_digests(whole.build(tmp_path_factory.mktemp("undisturbed") / "dataset"))


@pytest.fixture(scope="module")
def without_after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the dataset of a catalogue that never had the image after the event."""
    order = order_of(tmp_path_factory.mktemp("without"), replace(SITE, overpasses=(FAR, BEFORE, LATE)))
    brighten(order.catalogue, BANDS)
    return shard_digests(order.build(order.places.with_name("dataset")))


@pytest.fixture(scope="module")
def free_of_offset(whole: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror that has taken the offset off, and calls its scenes otherwise."""
    mirror = copied(whole.catalogue, tmp_path_factory.mktemp("mirror") / "stac")
    take_offset(mirror, BANDS)
    rename_scenes(mirror)
    return mirror


@pytest.fixture
def order(whole: Order, tmp_path: Path) -> Order:
    """The same order on a catalogue of its own, to break."""
    return replace(whole, catalogue=copied(whole.catalogue, tmp_path / "stac"))


@pytest.fixture
def mirror(whole: Order, tmp_path: Path) -> Path:
    """A mirror to break, in all like the source."""
    return copied(whole.catalogue, tmp_path / "mirror")


def lose(catalogue: Path, overpass: Overpass = AFTER, band: str = "B05") -> None:
    optical_file(catalogue, TILE, overpass, band).unlink()


def optical_rows(root: Path) -> list[dict[str, Any]]:
    """Rows of the ledger of the second image of every series: the one that is lost."""
    rows = pq.read_table(root / "ledger.parquet").to_pylist()
    return [row for row in rows if (row["modality"], row["timestep"]) == ("S2L2A", 1)]


def problems(root: Path) -> set[str]:
    return {row["problem"] for row in pq.read_table(root / "copies.parquet").to_pylist()}


def test_a_mirror_with_another_offset_convention_gives_the_same_bytes(
    order: Order, undisturbed: dict[str, str], free_of_offset: Path, tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    order.build(out, "--resume", "--mirror", str(free_of_offset))
    assert shard_digests(out) == undisturbed
    assert validate(out) == []
    offsets = {
        (row.choice.source != "", asset.offset)
        for row in read_decided(out).rows
        if (row.modality, row.timestep) == ("S2L2A", 1) and row.choice
        for asset in row.choice.assets
    }
    assert offsets == {(True, 0)}
    # The lock knows whom to ask for what, and the dataset is built again from it alone.
    assert main(["lock", str(out)]) == 0
    assert main(["rebuild", str(out / "lock.zip"), "--out", str(tmp_path / "again")]) == 0
    assert shard_digests(tmp_path / "again") == undisturbed


def test_a_scene_whose_classification_is_gone_is_judged_and_read_at_the_mirror(
    order: Order, undisturbed: dict[str, str], free_of_offset: Path, tmp_path: Path
) -> None:
    lose(order.catalogue, AFTER, "SCL")
    out = order.build(tmp_path / "dataset", "--mirror", str(free_of_offset))
    assert shard_digests(out) == undisturbed
    assert validate(out) == []


def test_tables_receipts_and_card_tell_where_an_image_is_from_and_why(
    order: Order, mirror: Path, tmp_path: Path
) -> None:
    reprocess(mirror)
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    order.build(out, "--resume", "--mirror", str(mirror))
    assert validate(out) == []
    assert json.loads((out / "mirrors.json").read_text()) == [str(mirror)]
    for row in optical_rows(out):
        assert (row["source"], row["first_choice"], row["first_fault"]) == (
            str(mirror), row["acquisition"], "unreadable",
        )  # fmt: skip
        assert "B05.tif cannot be read" in row["detail"]
    others = [row for row in pq.read_table(out / "ledger.parquet").to_pylist() if row["modality"] == "S1ASC"]
    assert {(row["source"], row["first_choice"]) for row in others} == {(str(order.catalogue), "")}
    for path in (out / "receipts").rglob("S2L2A/*.json"):
        assert [patch.source for patch in load_receipt(path).patches] == ["", str(mirror)]
    frames = pq.read_table(out / "frames.parquet").to_pylist()
    metadata = pq.read_table(out / "metadata" / "all_metadata.parquet").to_pylist()
    for table, step in ((frames, "timestep"), (metadata, "time_id")):
        optical = [row for row in table if row.get("modality", "S2L2A") == "S2L2A"]
        told = {(row[step], row["source"], row["baseline"], row["offset_rule"]) for row in optical}
        assert told == {
            (0, str(order.catalogue), "03.01", "processing_baseline"),
            (1, str(mirror), "05.11", "processing_baseline"),
        }
    assert {row["first_fault"] for row in metadata} == {"", "unreadable"}
    card = (out / "README.md").read_text()
    assert f"- mirror `{mirror}`: 2 S2L2A, 2 SCL read from it" in card
    assert "baseline 05.11, 1 scenes" in card
    assert "Replaced images" not in card


def test_what_no_mirror_has_is_replaced_by_the_next_best_image(
    order: Order, mirror: Path, without_after: dict[str, str], tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    later = copied(mirror, tmp_path / "later")
    lose(later)
    drop_item(mirror, "20220203")
    order.build(out, "--resume", "--mirror", str(mirror), "--mirror", str(later))
    assert shard_digests(out) == without_after
    assert problems(out) == {"not in its catalogue", ""}
    asked = pq.read_table(out / "unreadable.parquet").to_pylist()
    assert {row["source"] for row in asked} == {"", str(later)}
    assert validate(out) == []


def drop_item(catalogue: Path, day: str) -> None:
    collection = catalogue.parent / "sentinel-2-l2a" / "collection.json"
    document = json.loads(collection.read_text())
    document["links"] = [link for link in document["links"] if day not in link["href"]]
    collection.write_text(json.dumps(document))


@pytest.mark.slow
def test_mirrors_are_asked_in_order(
    order: Order, mirror: Path, free_of_offset: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    lose(mirror)
    order.build(out, "--resume", "--mirror", str(mirror), "--mirror", str(free_of_offset))
    assert shard_digests(out) == undisturbed
    assert {row["source"] for row in optical_rows(out)} == {str(free_of_offset)}
    # A mirror that is named later changes nothing that is read already.
    order.build(out, "--resume", "--mirror", str(copied(mirror, tmp_path / "third")))
    assert shard_digests(out) == undisturbed


@pytest.mark.slow
def test_a_mirror_that_is_named_after_an_alternate_was_taken_brings_the_image_back(
    order: Order, free_of_offset: Path, undisturbed: dict[str, str], without_after: dict[str, str], tmp_path: Path
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    assert shard_digests(order.build(out, "--resume")) == without_after
    assert shard_digests(order.build(out, "--resume", "--mirror", str(free_of_offset))) == undisturbed


def shifted(path: Path) -> None:
    change_pixels(path, lambda dn: dn, transform=Affine(20.0, 0.0, 400_007.0, 0.0, -20.0, 5_100_000.0))


def resampled(path: Path) -> None:
    place = Affine(10.0, 0.0, 400_000.0, 0.0, -10.0, 5_100_000.0)
    change_pixels(path, lambda dn: np.kron(dn, np.ones((2, 2), dn.dtype)), transform=place)


def elsewhere(path: Path) -> None:
    change_pixels(path, lambda dn: dn, crs="EPSG:32632")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shifted, "has pixels that lie between those of the granule"),
        (resampled, "has pixels of 10 m, not of 20 m"),
        (elsewhere, "lies on EPSG:32632, not on EPSG:32633"),
    ],
)
def test_a_file_on_another_grid_is_no_copy(
    order: Order, mirror: Path, without_after: dict[str, str], tmp_path: Path, change: Any, said: str
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    change(optical_file(mirror, TILE, AFTER, "B05"))
    order.build(out, "--resume", "--mirror", str(mirror))
    assert shard_digests(out) == without_after
    asked = pq.read_table(out / "unreadable.parquet").to_pylist()
    assert all(said in row["detail"] for row in asked if row["source"])
    assert {row["source"] for row in asked} == {"", str(mirror)}


@pytest.mark.slow
def test_radar_is_mirrored_too(order: Order, mirror: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    out = planned(order, tmp_path / "dataset")
    for frame in (0, 1):
        radar_file(order.catalogue, NEAR, frame, "vv").unlink()
    order.build(out, "--resume", "--mirror", str(mirror))
    assert shard_digests(out) == undisturbed


@pytest.fixture
def server(mirror: Path) -> Iterator[FaultServer]:
    with fault_server(mirror.parent) as made:
        yield made


def test_while_the_mirror_is_down_nothing_is_replaced(
    order: Order, server: FaultServer, undisturbed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    server.reset(Script(share=1.0, faults=("unavailable",)))
    # First the catalogue is away, then only the file.
    for script in (Script(share=1.0, faults=("unavailable",)), Script(share=1.0, faults=("unavailable",), only="B05")):
        server.reset(script)
        capsys.readouterr()
        assert main(order.arguments(out, "--resume", "--mirror", server.api)) == 1
        said = capsys.readouterr().err
        assert "files are unfinished" in said
        assert "127.0.0.1" in said
        assert not any(row["source"] for row in optical_rows(out))
    server.reset(QUIET)
    order.build(out, "--resume")
    assert shard_digests(out) == undisturbed
    assert {row["source"] for row in optical_rows(out)} == {server.api}
    assert validate(out) == []


@pytest.mark.parametrize("is_written", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_wherever_a_run_is_killed_it_goes_on_to_the_same_bytes(
    order: Order, mirror: Path, undisturbed: dict[str, str], tmp_path: Path, is_written: bool
) -> None:
    out = planned(order, tmp_path / "dataset")
    lose(order.catalogue)
    write, plan = rounds.write_replanned, (out / "plan.parquet").read_bytes()

    def stop(root: Path, decided: Any) -> None:
        write(root, decided)
        if not is_written:
            (root / "plan.parquet").write_bytes(plan)
        raise Stopped

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds, "write_replanned", stop)
        with pytest.raises(Stopped):
            main(order.arguments(out, "--resume", "--mirror", str(mirror)))
    order.build(out, "--resume")
    assert shard_digests(out) == undisturbed
    assert validate(out) == []


def test_through_an_outage_what_is_not_built_is_read_from_a_mirror_on_the_users_word(
    whole: Order, free_of_offset: Path, mirror: Path, undisturbed: dict[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    reprocess(mirror)
    with fault_server(whole.catalogue.parent) as source:
        order = replace(whole, catalogue=source.api)
        out = planned(order, tmp_path / "dataset")
        source.reset(Script(share=1.0, faults=("unavailable",), only="B05"))
        assert main(order.arguments(out, "--resume")) == 1
        retry = ["retry", str(out), "--reason", "unfinished", "--mirror"]
        # Another processing is not taken unasked: its values differ.
        capsys.readouterr()
        assert main([*retry, str(mirror)]) == 1
        told = capsys.readouterr().out
        assert "0 images of unfinished files are read from mirrors" in told
        assert "4 images are not: mirrors have another processing baseline (--any-baseline takes it)" in told
        (out / "mirrors.json").unlink()
        assert main([*retry, str(free_of_offset)]) == 0
        assert "4 images of unfinished files are read from mirrors" in capsys.readouterr().out
        assert shard_digests(out) == undisturbed
        assert {(row["source"], row["first_fault"]) for row in optical_rows(out)} == {
            (str(free_of_offset), "unreachable")
        }
        assert main(["status", str(out)]) == 0
        assert f"mirrored  S2L2A 4 × {free_of_offset}" in capsys.readouterr().out
        assert validate(out) == []
        # When the source is back, the user may take the word back.
        source.reset(QUIET)
        assert main(["retry", str(out), "--reason", "unreachable"]) == 0
        assert {row["source"] for row in optical_rows(out)} == {source.api}
        assert shard_digests(out) == undisturbed


@pytest.mark.slow
def test_another_processing_is_taken_where_the_user_says_so(whole: Order, mirror: Path, tmp_path: Path) -> None:
    reprocess(mirror)
    with fault_server(whole.catalogue.parent) as source:
        order = replace(whole, catalogue=source.api)
        out = planned(order, tmp_path / "dataset")
        source.reset(Script(share=1.0, faults=("unavailable",), only="B05"))
        assert main(order.arguments(out, "--resume")) == 1
        taken = ["retry", str(out), "--reason", "unfinished", "--mirror", str(mirror), "--any-baseline"]
        assert main(taken) == 0
    metadata = pq.read_table(out / "metadata" / "all_metadata.parquet").to_pylist()
    assert {(row["source"], row["baseline"]) for row in metadata} == {(str(mirror), "05.11")}


def test_a_plan_says_what_a_mirror_can_be_of_help_with(
    order: Order, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(mirror.read_text())
    document["links"] = [link for link in document["links"] if "sentinel-1" not in link["href"]]
    mirror.write_text(json.dumps(document))
    assert main(order.arguments(tmp_path / "dataset", "--mirror", str(mirror), command="plan")) == 0
    said = capsys.readouterr().out
    assert f"mirror {mirror}: S2L2A: has the same S2A_MSIL2A" in said
    assert f"mirror {mirror}: S1: no help where S1A_IW" in said
    assert "sentinel-1-rtc" in said


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("earth-engine", "no mirror can be of help between earth-engine and another provider"),
        ("SOURCE", "is the dataset's own source; name another provider"),
        ("nowhere/catalog.json", "does not exist"),
        ("earth-serch", "did you mean earth-search?"),
    ],
)
def test_what_can_be_no_mirror_is_refused_in_one_line(
    order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str, said: str
) -> None:
    name = str(order.catalogue) if named == "SOURCE" else named
    assert main(order.arguments(tmp_path / "dataset", "--mirror", name)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "dataset").exists()


def test_tables_from_before_there_were_mirrors_are_read(order: Order, tmp_path: Path) -> None:
    out = planned(order, tmp_path / "dataset")
    assert not (out / "mirrors.json").exists()
    image = {
        "sample_id": "a",
        "product": "S1",
        "acquisition": "p",
        "modality": "S1ASC",
        "reason": "empty",
        "detail": "",
    }
    samples = pq.read_table(out / "samples.parquet")["id"].to_pylist()
    table = pa.Table.from_pylist([{**image, "sample_id": samples[0], "scene_ids": ["s"]}])
    pq.write_table(table, out / "unreadable.parquet")
    assert [(row.acquisition, row.source) for row in read_decided(out).unreadable] == [("p", "")]
