"""Items, functions and results on their way to and from workers: functions by cloudpickle, the rest by plain pickle.

Dask's own pickler asks Python about every object that it meets; of a file's plan there are thousands.
"""

import pickle
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cloudpickle
from numcodecs import zstd

PROTOCOL = 5
LEVEL = 1


def pack(value: Any) -> bytes:
    """Return `value` as bytes, compressed: a file's plan names the same few folders thousands of times."""
    packed: bytes = zstd.compress(pickle.dumps(value, PROTOCOL), LEVEL)
    return packed


def pack_function(function: Callable[[Any], Any]) -> bytes:
    """Return `function` as bytes, whole where no worker could import it."""
    packed: bytes = cloudpickle.dumps(function, PROTOCOL)
    return packed


def unpack(packed: bytes) -> Any:
    """Return what was packed by this package, in this process or on a worker of the same cluster."""
    return pickle.loads(zstd.decompress(packed))  # noqa: S301


def call_packed(function: bytes, items: bytes) -> bytes:
    """Call a packed function with each of some packed items; runs on a worker.

    Returns seconds that it took and the results, packed.
    """
    call, started = _function(function), time.perf_counter()
    results = [call(item) for item in unpack(items)]
    return pack((time.perf_counter() - started, results))


@lru_cache(maxsize=8)
def _function(packed: bytes) -> Callable[[Any], Any]:
    # One function serves thousands of items.
    function: Callable[[Any], Any] = pickle.loads(packed)  # noqa: S301
    return function
