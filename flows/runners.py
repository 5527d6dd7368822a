"""A runner as a flow wants it: its workers do not import Prefect, and what they log reaches the run."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from types import ModuleType

from flows.logs import PACKAGE, set_package_level
from pipeline.cluster import ClusterSetting, DaskRunner, Runner, open_runner

SETTLE_SECONDS = 1.0
"""How long after the last result workers are listened to."""


@contextmanager
def open_flow_runner(setting: ClusterSetting, *, needs: int = 0) -> Iterator[Runner]:
    """Yield the runner for `setting`, whose workers have `needs` bytes of memory; raises as `open_runner` does."""
    with _bare_main(), open_runner(setting, needs=needs) as runner:
        if isinstance(runner, DaskRunner):
            # Also on workers that come later.
            runner.client.register_worker_callbacks(set_package_level)
            runner.client.forward_logging(PACKAGE, level=logging.INFO)
            # A first answer: the scheduler takes what it is told in order, so it knows by now who listens.
            list(runner.run(int, [0], threads=1))
            yield runner
            # What was logged last is still on its way.
            sleep(SETTLE_SECONDS)
        else:
            yield runner


@contextmanager
def _bare_main() -> Iterator[None]:
    # A spawned process imports the main module of its parent; that of a run is Prefect's engine.
    held = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = held
