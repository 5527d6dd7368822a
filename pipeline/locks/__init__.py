"""Locks: everything that a dataset's bytes rest on in one file, and building the same bytes from it again."""

from pipeline.locks.locking import LOCK_NAME, lock_dataset
from pipeline.locks.rebuilding import Rebuilt, prepare_rebuild, rebuild
from pipeline.locks.record import Lock, read_lock

__all__ = ["LOCK_NAME", "Lock", "Rebuilt", "lock_dataset", "prepare_rebuild", "read_lock", "rebuild"]
