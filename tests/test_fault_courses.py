"""Any course of faults, kills and resumes over a small build ends in the same bytes, but for what was lost for good."""

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.catalogue import optical_file, radar_file
from support.fault_server import QUIET, Script, Tokens, fault_server
from support.forked_driver import PATIENCE, PROVIDER, kill, start_driver
from support.orders import Order, shard_digests
from support.two_slides import BEFORE, NEAR, TILE, order_of

from pipeline.validate import validate

MOMENTS = st.integers(5, 80)
"""Numbers of requests: a build sends 62 where none fails, the survey ends at about 20."""
SCRIPTS = st.builds(
    Script, seed=st.integers(0, 9999), share=st.sampled_from([0.1, 0.2, 0.3]), burst=st.integers(1, 4),
    retry_after=st.sampled_from(["0", ""]), trickle_seconds=st.just(0.01),
)  # fmt: skip


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    return order_of(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def whole(order: Order, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the files where nothing was lost."""
    return shard_digests(order.build(tmp_path_factory.mktemp("whole") / "dataset"))


@pytest.fixture(scope="module")
def without(order: Order, whole: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the files where `lost_file` was never there."""
    folder = tmp_path_factory.mktemp("without")
    shutil.copytree(order.catalogue.parent, folder / "stac")
    catalogue = folder / "stac" / order.catalogue.name
    lost_file(catalogue).unlink()
    found = shard_digests(replace(order, catalogue=catalogue).build(folder / "dataset"))
    assert found != whole
    return found


def lost_file(catalogue: Path) -> Path:
    """A band of the image that both series would have before the slides."""
    return optical_file(catalogue, TILE, BEFORE, "B02")


class Course(RuleBasedStateMachine):
    """A dataset, the server that it comes from, and what befalls both."""

    order: Order
    whole: dict[str, str]
    without: dict[str, str]

    @initialize(script=SCRIPTS)
    def begin(self, script: Script) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.root = self.order.catalogue.parent
        self.server = self.stack.enter_context(fault_server(self.root))
        self.server.tokens, self.server.script = Tokens(), script
        self.out, self.said = self.folder / "dataset", self.folder / "said.txt"
        self.lost: frozenset[str] = frozenset()
        self.is_done = False

    @rule(script=SCRIPTS)
    def misbehave(self, script: Script) -> None:
        self.server.script = script

    @precondition(lambda self: self.is_done)
    @rule(number=st.integers(0, 99))
    def remove_a_file(self, number: int) -> None:
        files = sorted(self.out.rglob("*.zarr.zip"))
        files[number % len(files)].unlink()
        self.is_done = False

    @precondition(lambda self: not self.is_done)
    @rule(moments=st.dictionaries(st.sampled_from(["kill", "lose", "expire", "replace"]), MOMENTS, min_size=1))
    def go_on(self, moments: Mapping[str, int]) -> None:
        words = self.order.arguments(self.out, "--resume")
        words[words.index("--source") + 1] = PROVIDER
        self.server.reset(replace(self.server.script, lost=self.lost))
        driver = start_driver(words, self.server.base, self.said)
        happenings = {
            "kill": lambda: kill(driver), "lose": self._lose, "expire": self.server.tokens.revoke,
            "replace": self._replace,
        }  # fmt: skip
        for name, moment in moments.items():
            # One after the other where they would come at once.
            free = next(number for number in count(moment) if number not in self.server.at_request)
            self.server.at_request[free] = happenings[name]
        driver.join(PATIENCE)
        said = self.said.read_text()
        assert driver.exitcode in ((0, 1, -9) if "kill" in moments else (0, 1)), said
        assert "Traceback" not in said
        self.is_done = driver.exitcode == 0

    @invariant()
    def every_file_is_one_of_those_expected(self) -> None:
        for name, digest in (shard_digests(self.out) if hasattr(self, "out") else {}).items():
            assert digest == self.whole[name] or (self.lost and digest == self.without[name]), name

    def teardown(self) -> None:
        if not hasattr(self, "out"):
            return
        with self.stack:
            self.server.script = QUIET
            if not self.is_done:
                self.go_on(moments={})
            assert self.is_done, self.said.read_text()
            self._require_whole_patches()
            assert validate(self.out) == []

    def _require_whole_patches(self) -> None:
        """Each patch, a file of its own, has the lost image or lacks it in all that rests on the series."""
        held = shard_digests(self.out)
        assert held.keys() == self.whole.keys()
        for number in ("000001", "000002"):
            files = {name: digest for name, digest in held.items() if number in name}
            assert files.items() <= self.whole.items() or (self.lost and files.items() <= self.without.items()), files

    def _lose(self) -> None:
        self.lost = frozenset([self._path(lost_file(self.order.catalogue))])
        self.server.script = replace(self.server.script, lost=self.lost)

    def _replace(self) -> None:
        """The same pixels behind another ETag: what is open must be let go of."""
        file = radar_file(self.order.catalogue, NEAR, 0, "vv")
        held = self.server.replaced.get(self._path(file), file.read_bytes())
        self.server.replaced[self._path(file)] = held + b"\0"

    def _path(self, file: Path) -> str:
        return f"/{file.relative_to(self.root).as_posix()}"


@pytest.mark.slow
def test_any_course_of_faults_kills_and_resumes_ends_in_the_same_bytes(
    order: Order, whole: dict[str, str], without: dict[str, str]
) -> None:
    course = type("CourseOfOne", (Course,), {"order": order, "whole": whole, "without": without})
    run_state_machine_as_test(
        course,
        settings=settings(max_examples=4, stateful_step_count=4, suppress_health_check=list(HealthCheck)),
    )
