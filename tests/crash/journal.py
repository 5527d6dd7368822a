"""Loaded into each worker (`dask worker --preload crash.journal`): notes every file that it begins to build."""

import os
from typing import Any

from distributed import Worker

from pipeline import assemble
from pipeline.records import Shard, ShardReport

JOURNAL = "SEN12_CRASH_JOURNAL"
"""Environment variable: the file that takes one line for each begun file."""


def dask_setup(worker: Worker) -> None:
    build = assemble._build

    def noted(shard: Shard, *decided: Any) -> ShardReport:
        # One short write to a file opened for appending is not torn by another process, nor lost with this one.
        journal = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(journal, f"{shard.path}\n".encode())
        os.close(journal)
        return build(shard, *decided)

    assemble._build = noted
