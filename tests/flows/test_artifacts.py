"""Artifacts: bars that move and arrive, tables, and summaries with what is missing and why."""

import pytest
from httpx import ConnectError
from prefect.logging import disable_run_logger
from support.flows import DONE, LEDGER, STOPPED, ledger_row

from flows import artifacts as module
from flows.artifacts import built_line, built_markdown, cost_line, file_rows, plan_markdown
from pipeline.recipes import load_recipe
from pipeline.records import PlanRow, ShardReport
from pipeline.stages import Cost

COST = Cost(patches=3, left_out=1, shards=2, windows=40, read_bytes=2_500_000, stored_bytes=4_000_000)


class Shown:
    """Progress that would have been shown."""

    def __init__(self, monkeypatch):
        self.progress = []
        monkeypatch.setattr(module, "create_progress_artifact", self.create)
        monkeypatch.setattr(module, "update_progress_artifact", self.update)

    def create(self, progress, key, description):
        self.progress.append((key, progress, description))
        return key

    def update(self, artifact_id, progress, description):
        self.progress.append((artifact_id, progress, description))


@pytest.fixture
def shown(monkeypatch):
    with disable_run_logger():
        yield Shown(monkeypatch)


def test_progress_moves_at_most_once_a_second_and_always_arrives(shown, monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(module, "monotonic", lambda: clock["now"])
    progress = module.ProgressArtifact("build-landslides", "files done")
    for done, now in [(0, 100.0), (1, 100.1), (2, 100.9), (3, 101.2), (4, 101.3), (5, 101.4)]:
        clock["now"] = now
        progress(done, 5)
    assert shown.progress == [
        ("build-landslides", 0.0, "0 of 5 files done"),
        ("build-landslides", 60.0, "3 of 5 files done"),
        ("build-landslides", 100.0, "5 of 5 files done"),
    ]


def test_progress_of_nothing_to_do_is_whole(shown):
    module.ProgressArtifact("survey-landslides", "batches")(0, 0)
    assert shown.progress == [("survey-landslides", 100.0, "0 of 0 batches")]


def test_a_server_that_does_not_answer_does_not_stop_the_work(shown, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectError("All connection attempts failed")

    monkeypatch.setattr(module, "create_progress_artifact", refuse)
    module.ProgressArtifact("build-landslides", "files done")(1, 5)
    assert not shown.progress


def test_the_summary_says_what_is_missing_and_why():
    text = built_markdown("landslides", "all of it", LEDGER)
    assert text.startswith("# landslides\n\nall of it\n")
    assert "| DEM | 1 |\n| S2L2A | 1 |" in text
    assert "| S2L2A | 2 | too_cloudy: every acquisition in the window hides more of the patch" in text


def test_rejected_events_are_neither_patches_nor_missing():
    event = {"sample_id": "", "modality": "", "timestep": -1, "state": "rejected", "reason": "bad_date"}
    rejected = [ledger_row(**event, event_id=id_, detail=f"{id_!r} is no day") for id_ in ("7", "8")]
    line = built_line("data", [*rejected, *LEDGER], [DONE])
    assert line == "data: 2 patches written, 2 missing, 2 events rejected, 1 of 1 files done"
    text = built_markdown("landslides", line, [*rejected, *LEDGER])
    assert "- 2 events × bad_date: the date is missing" in text
    assert "(first: event 7: '7' is no day)" in text
    assert "|  | " not in text


def test_the_plan_says_what_will_be_missing_and_what_it_costs():
    rows = [
        PlanRow(sample_id="a", modality="S2L2A", timestep=0, choice=None, reason="too_cloudy"),
        PlanRow(sample_id="a", modality="S1ASC", timestep=0, choice=None, reason="no_scene"),
    ]
    text = plan_markdown(load_recipe("landslides"), COST, rows)
    assert "3 patches (1 left out) in 2 files; 40 windows to read, 2.5 MB of pixels" in text
    assert text.index("| S1ASC | 1 | no_scene: ") < text.index("| S2L2A | 1 | too_cloudy: ")
    assert cost_line(COST) in text


def test_the_table_of_files_begins_with_what_is_not_done():
    assert file_rows([DONE, STOPPED]) == [
        {"path": STOPPED.path, "state": "unfinished", "bytes": 0, "seconds": 0.0},
        {"path": DONE.path, "state": "done", "bytes": 12, "seconds": 0.5},
    ]


def test_the_table_of_files_ends_somewhere_and_never_loses_what_is_not_done():
    many = [ShardReport(path=f"{number:05d}", plan_digest="", state="done") for number in range(3000)]
    rows = file_rows([*many, STOPPED])
    assert len(rows) == module.TABLE_ROWS
    assert rows[0]["path"] == STOPPED.path
