"""The command line in a forked process that may be killed, quick to start: what it needs is imported once."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

PROVIDER = "loopback"
PROCESSES = multiprocessing.get_context("forkserver")
PATIENCE = 120.0
"""How long a run may take [s]."""


def start_driver(words: Sequence[str], base: str, said: Path) -> BaseProcess:
    """Run `sen12 WORDS`; `base` is the server whose files need tokens, `said` takes what is printed as errors."""
    PROCESSES.set_forkserver_preload(["support.forked_driver", "pipeline.cli", "pipeline.cluster"])
    driver = PROCESSES.Process(target=_drive, args=(list(words), base, said))
    driver.start()
    return driver


def kill(driver: BaseProcess) -> None:
    """Send SIGKILL; a driver that has ended is left alone."""
    if driver.pid is not None and driver.is_alive():
        os.kill(driver.pid, signal.SIGKILL)


def _drive(words: list[str], base: str, said: Path) -> None:
    from pipeline import sources  # noqa: PLC0415
    from pipeline.cli import main  # noqa: PLC0415
    from pipeline.sources import governor, transport, window  # noqa: PLC0415
    from pipeline.sources.providers import Provider  # noqa: PLC0415
    from pipeline.sources.signing import TokenSignature  # noqa: PLC0415

    with said.open("wb") as file, Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Hundredths of seconds where a real run waits for seconds.
    window.GDAL_OPTIONS.update({"GDAL_HTTP_RETRY_DELAY": 0.01})  # type: ignore[attr-defined]
    transport._BACKOFF_SECONDS = 0.01
    governor.THROTTLED_PAUSE_SECONDS = 0.01
    signature = TokenSignature(service=f"{base}/token", hosts="127.0.0.1")
    sources.PROVIDERS = {**sources.PROVIDERS, PROVIDER: Provider(url=f"{base}/stac", signature=signature)}
    sys.exit(main(words))
