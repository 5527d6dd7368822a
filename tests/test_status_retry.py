"""`sen12 status` tells of a dataset in any state; `sen12 retry` reads again what may have been mended."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.catalogue import optical_file
from support.orders import Order, shard_digests
from support.two_slides import AFTER, SERIES, TILE, Stopped, build_with, order_of, planned

from pipeline.catalog import read_decided
from pipeline.cli import main
from pipeline.receipts import load_receipt
from pipeline.validate import validate


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    return order_of(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def plan_only(order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(order, tmp_path_factory.mktemp("plan") / "dataset")


@pytest.fixture(scope="module")
def finished(order: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return order.build(tmp_path_factory.mktemp("finished") / "dataset")


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    """A copy to break; receipts keep their times."""
    return shutil.copytree(finished, tmp_path / "dataset")


Told = Callable[[Path], tuple[int, dict]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Return exit code and JSON; the text is told, too, and is never empty."""

    def tell(root: Path) -> tuple[int, dict]:
        capsys.readouterr()
        code = main(["status", str(root)])
        text = capsys.readouterr().out
        assert text.startswith(f"{root}: ")
        assert main(["status", str(root), "--json"]) == code
        return code, {**json.loads(capsys.readouterr().out), "text": text}

    return tell


def receipt(root: Path, modality: str, number: int = 1) -> Path:
    return root / "receipts" / "all" / modality / f"landslides_all_{number:06d}.json"


def test_a_finished_dataset(finished: Path, told: Told) -> None:
    code, status = told(finished)
    assert (code, status["stage"], status["files"], status["open"]) == (0, "finished", {"done": 10}, [])
    assert status["patches"] == {"written": 18}
    reports = [load_receipt(path) for path in (finished / "receipts").rglob("*.json")]
    assert status["bytes"] == sum(report.bytes for report in reports)
    assert [file["seconds"] for file in status["slowest"]] == sorted((r.seconds for r in reports), reverse=True)[:5]
    assert [file["bytes"] for file in status["largest"]] == sorted((r.bytes for r in reports), reverse=True)[:5]
    assert "  files     10: 10 done\n" in status["text"]


def test_a_plan_of_which_nothing_is_built(plan_only: Path, told: Told) -> None:
    code, status = told(plan_only)
    assert (code, status["stage"], status["files"]) == (1, "planned", {"not begun": 10})
    assert status["patches"] == {"unfinished": 18}
    assert status["pace"] is None
    assert "18 to come" in status["text"]


def test_a_folder_without_a_plan(dataset: Path, told: Told) -> None:
    (dataset / "plan.parquet").unlink()
    code, status = told(dataset)
    assert (code, status["stage"]) == (1, "not planned")


def test_files_that_are_lost_cut_or_of_another_plan_are_told_apart(dataset: Path, told: Told) -> None:
    receipt(dataset, "S2L2A").write_text("{")
    receipt(dataset, "SCL").unlink()
    changed = json.loads(receipt(dataset, "MASK").read_text())
    receipt(dataset, "MASK").write_text(json.dumps({**changed, "plan_digest": "0"}))
    shard = dataset / "all" / "S1ASC" / "landslides_all_000001.zarr.zip"
    shard.write_bytes(shard.read_bytes()[:-1])
    code, status = told(dataset)
    assert (code, status["stage"]) == (1, "unfinished")
    assert status["files"] == {"done": 6, "damaged": 2, "not begun": 1, "outdated": 1}
    assert {file["path"].split("/")[1] for file in status["open"]} == {"S2L2A", "S1ASC"}


def test_a_built_dataset_without_its_tables(dataset: Path, told: Told) -> None:
    (dataset / "ledger.parquet").unlink()
    assert told(dataset)[1]["stage"] == "built"


@pytest.mark.parametrize("name", ["plan.parquet", "samples.parquet", "recipe.yaml"])
def test_a_damaged_dataset_is_told_in_one_line(dataset: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / name).write_bytes(b"PAR1: nothing of use")
    assert main(["status", str(dataset)]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{dataset}: {'unknown' if name == 'recipe.yaml' else 'landslides'}, damaged\n"
    assert printed.err.startswith("sen12: error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_dataset_is_told_in_one_line(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "other")
    assert main(["status", str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_pace_and_time_left_follow_from_when_receipts_came(dataset: Path, told: Told) -> None:
    paths = sorted((dataset / "receipts").rglob("*.json"))
    for number, path in enumerate(paths):
        # Two files of the first run, hours ago; then one every 30 seconds, two at once.
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, "seconds": 60.0}))
        moment = 1_000_000.0 + (100.0 * number if number < 2 else 20_000.0 + 30.0 * number)
        os.utime(path, (moment, moment))
    paths[0].unlink()
    _, status = told(dataset)
    # Eight files between 60 s before the first and the last of them, 7 × 30 s later.
    assert status["pace"]["files_per_hour"] == pytest.approx(3600 * 8 / (7 * 30 + 60))
    assert status["pace"]["at_once"] == pytest.approx(8 * 60 / (7 * 30 + 60))
    assert status["pace"]["seconds_left"] == pytest.approx(60 / status["pace"]["at_once"])
    assert "left" in status["text"]


def test_a_run_that_was_killed_within_a_file_left_a_trace(
    order: Order, plan_only: Path, tmp_path: Path, told: Told
) -> None:
    out = shutil.copytree(plan_only, tmp_path / "dataset")

    def die(href: str) -> str:
        raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            build_with(out, order, die)
    _, status = told(out)
    assert status["stage"] == "unfinished"
    assert status["files"]["begun"] == 1
    (file,) = status["open"]
    assert (file["attempts"], file["fault"]) == (2, "stopped before it came to an end")


@pytest.fixture
def lost(order: Order, plan_only: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A dataset that lost its image after the event, and the file, which is put back later."""
    out = shutil.copytree(plan_only, tmp_path / "dataset")
    file = optical_file(order.catalogue, TILE, AFTER, "B05")
    aside = file.rename(tmp_path / "B05.tif")
    try:
        order.build(out, "--resume")
    finally:
        shutil.copyfile(aside, file)
    return out, file


def test_retry_reads_again_and_ends_where_an_undisturbed_build_ends(
    lost: tuple[Path, Path], finished: Path, told: Told
) -> None:
    out, _ = lost
    assert told(out)[1]["replaced"] == [
        {"modality": modality, "reason": "unreadable", "count": 2} for modality in ("S2L2A", "SCL")
    ]
    assert shard_digests(out) != shard_digests(finished)
    assert main(["retry", str(out), "--reason", "unreadable"]) == 0
    assert shard_digests(out) == shard_digests(finished)
    for table in ("plan.parquet", "frames.parquet", "labels.parquet", "ledger.parquet"):
        assert (out / table).read_bytes() == (finished / table).read_bytes()
    assert validate(out) == []


def test_retry_of_one_sample_leaves_the_others(lost: tuple[Path, Path]) -> None:
    out, _ = lost
    first, second = sorted({image.sample_id for image in read_decided(out).unreadable})
    assert main(["retry", str(out), "--reason", "unreadable", "--sample", second]) == 0
    assert {image.sample_id for image in read_decided(out).unreadable} == {first}
    assert validate(out) == []


def test_what_is_still_unreadable_ends_in_the_same_bytes(lost: tuple[Path, Path], tmp_path: Path) -> None:
    out, file = lost
    before = shard_digests(out)
    aside = file.rename(tmp_path / "again.tif")
    try:
        assert main(["retry", str(out), "--reason", "unreadable"]) == 0
    finally:
        aside.rename(file)
    assert shard_digests(out) == before


def test_without_alternates_retry_reads_the_files_again(
    order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = order.with_overrides("alternates=0")
    out = planned(order, tmp_path / "dataset")
    file = optical_file(order.catalogue, TILE, AFTER, "B05")
    aside = file.rename(tmp_path / "B05.tif")
    try:
        order.build(out, "--resume")
    finally:
        aside.rename(file)
    capsys.readouterr()
    assert main(["retry", str(out), "--reason", "unreadable"]) == 0
    assert "0 images that were unreadable are read again, and 2 files" in capsys.readouterr().out
    assert {row.reason for row in read_decided(out).rows} == {""}
    assert "missing" not in {
        patch.state for path in (out / "receipts").rglob("*.json") for patch in load_receipt(path).patches
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--reason", "too_cloudy"], "--reason too_cloudy follows from the plan, and reading again cannot change it"),
        (["--reason", "clouds"], "--reason clouds is no reason of the ledger; there are empty, too_much_missing, unr"),
        (["--reason", "unreadable"], "because it is unreadable"),
        (["--reason", "empty", "--sample", "nowhere"], "has no sample nowhere"),
    ],
)
def test_what_retrying_cannot_change_is_refused(
    finished: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shard_digests(finished)
    assert main(["retry", str(finished), *more]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert shard_digests(finished) == before


def test_unfinished_files_are_built(plan_only: Path, finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(plan_only, tmp_path / "dataset")
    assert main(["retry", str(out), "--reason", "unfinished"]) == 0
    assert shard_digests(out) == shard_digests(finished)
    assert SERIES[0] in {path.parent.name for path in out.rglob("*.zarr.zip")}
